"""Which backend of the scan runs, what it refuses, and what it asks of the device."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from medmamba_monai.ops import available_backends, backends, selective_scan
from tests.ops.cases import BACKENDS, inputs


def test_backends_say_why_they_are_off() -> None:
    table = available_backends()
    assert list(table) == ["reference", "chunked", "native", "triton", "mamba_ssm"]
    assert table["reference"] is None and table["chunked"] is None
    u = torch.ones(1, 1, 3)
    with pytest.raises(ValueError, match="backend 'fast' is unknown"):
        selective_scan(u, u, torch.zeros(1, 1), u, u, backend="fast")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="no CUDA device|triton is not installed"):
            selective_scan(u, u, torch.zeros(1, 1), u, u, backend="triton")
        with pytest.raises(RuntimeError, match="no CUDA device"):
            selective_scan(u, u, torch.zeros(1, 1), u, u, backend="mamba_ssm")


@pytest.mark.skipif("native" not in BACKENDS, reason="the compiled library is not built")
def test_native_refuses_what_it_cannot_compute() -> None:
    u, A = torch.ones(1, 1, 3), torch.zeros(1, 1)
    with pytest.raises(RuntimeError, match="not constant ones"):
        selective_scan(u, u, A, torch.ones(1, 1), u, backend="native")
    with pytest.raises(RuntimeError, match="float32 on the CPU"):
        selective_scan(*(x.double() for x in (u, u, A, u, u)), backend="native")
    # Left to itself the scan takes another backend.
    assert isinstance(selective_scan(u, u, A, torch.ones(1, 1), u), Tensor)
    assert isinstance(selective_scan(*(x.double() for x in (u, u, A, u, u))), Tensor)


def test_automatic_choice_is_logged_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_logged", set())
    u = torch.ones(1, 1, 3)
    with caplog.at_level(logging.INFO, "medmamba_monai"):
        for _ in range(3):
            selective_scan(u, u, torch.zeros(1, 1), u, u)
    assert len([record for record in caplog.records if "selective scan on cpu" in record.message]) == 1


def test_constant_maps_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    keep = torch.Tensor.contiguous
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda x, *a, **k: sizes.append(x.numel()) or keep(x, *a, **k))
    u = torch.ones(1, 64, 1000)
    selective_scan(u, u, -torch.ones(64, 16), torch.ones(64, 16), torch.ones(64, 16), backend="chunked")
    assert sizes and max(sizes) < 64 * 16 * 1000


class NoDoubles(TorchDispatchMode):
    """Refuse every float64 tensor, which Apple's GPUs do not have."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for x in torch.utils._pytree.tree_leaves(result):
            assert not isinstance(x, Tensor) or x.dtype != torch.float64, func
        return result


def test_chunked_runs_on_any_device() -> None:
    """The meta device refuses to mix with tensors of the CPU, as any other device would."""
    leaves = {name: x.to("meta").requires_grad_() for name, x in inputs(70, groups=2).items() if x is not None}
    with NoDoubles():
        y, last = selective_scan(**leaves, delta_softplus=True, return_last_state=True)
        gradients = torch.autograd.grad(y.sum() + last.sum(), list(leaves.values()))
    assert all(x.is_meta and x.dtype == torch.float32 for x in (y, last, *gradients))
