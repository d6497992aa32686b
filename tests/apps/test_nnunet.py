"""Plans of nnU-Net that name our network, and the network that they build."""

from __future__ import annotations

import json
import pydoc
from pathlib import Path

import pytest
import torch

from medmamba_monai.apps import nnunet


def plans(folder: Path) -> Path:
    """The parts of plans that count here, as nnU-Net v2 writes them."""
    arguments = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2],
    }
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op"],
    }
    configurations = {"3d_fullres": {"architecture": architecture}, "3d_cascade": {"inherits_from": "3d_fullres"}}
    file = folder / "nnUNetPlans.json"
    file.write_text(json.dumps({"plans_name": "nnUNetPlans", "configurations": configurations}))
    return file


def test_plans_build_the_network(tmp_path: Path, capsys) -> None:
    file = plans(tmp_path)
    before = file.read_text()
    assert nnunet.main([str(file), "--variant", "encoder"]) == 0
    assert "-p nnUNetUMambaPlans" in capsys.readouterr().out and file.read_text() == before
    found = json.loads((tmp_path / "nnUNetUMambaPlans.json").read_text())
    assert found["plans_name"] == "nnUNetUMambaPlans"
    assert found["configurations"]["3d_cascade"] == {"inherits_from": "3d_fullres"}
    named = found["configurations"]["3d_fullres"]["architecture"]
    # as nnU-Net's get_network_from_plans does
    network = pydoc.locate(named["network_class_name"])(
        input_channels=1, num_classes=2, deep_supervision=True, **named["arch_kwargs"]
    ).eval()
    assert named["_kw_requires_import"] == [] and network.spatial_dims == 3
    x = torch.randn(1, 1, 4, 8, 8)
    full, half = network(x)
    assert full.shape == (1, 2, 4, 8, 8) and half.shape == (1, 2, 4, 4, 4)
    network.decoder.deep_supervision = False
    assert torch.equal(network(x), full)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"configurations": {"2d": {"architecture": {}}}}'])
def test_a_file_that_is_no_plans_is_refused(content: str | None, tmp_path: Path, capsys) -> None:
    file = tmp_path / "nnUNetPlans.json"
    if content is not None:
        file.write_text(content)
    assert nnunet.main([str(file)]) == 1
    assert "give the file nnUNetPlans.json" in capsys.readouterr().err
    assert not (tmp_path / "nnUNetUMambaPlans.json").exists()
