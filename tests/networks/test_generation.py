"""What all networks that make images share."""

from __future__ import annotations

import pytest
import torch

from tests.networks.cases import build
from tests.networks.inputs import axes, inputs


@pytest.mark.parametrize("case", ["i2i_mamba_2d", "mamba_dfuse_2d", "md_dose_2d", "vm_ddpm_2d", "gfe_mamba_3d"])
def test_checkpoints_change_no_gradient(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls = [], []
    original = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        "medmamba_monai.networks.blocks.checkpoint.checkpoint", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    for use in (False, True):
        net = build(case, use_checkpoint=use).train()
        net(*inputs(case, size=(9, 8, 7)[: axes(case)])).square().mean().backward()
        found.append([p.grad for p in net.parameters()])
        assert bool(calls) is use
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-3)
