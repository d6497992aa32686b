"""How every network of the registry starts: its state-space cores, its norms, its linear maps and convolutions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.mamba_vision import VisionMixer
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.scan_mixer import ScanMixer
from tests.networks.cases import CASES, build

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.RMSNorm)

# What the authors' code does to linear maps outside of Mamba's own: a normal distribution of deviation 0.02, biases 0.
SMALL_LINEAR = [
    "medmamba_2d", "vmamba_first_2d", "vmamba_current_3d", "vm_unet_2d", "mamba_unet_2d", "swin_umamba_2d",
    "vm_unet_v2_2d", "ultralight_vm_unet_2d", "h_vmunet_2d", "hmt_unet_2d", "hc_mamba_2d", "mucm_net_2d",
]  # fmt: skip
# To convolutions: He et al. by fan out, or by fan in for leaky ReLU, with biases 0.
FAN_OUT = ["ultralight_vm_unet_2d", "h_vmunet_2d", "mucm_net_2d"]
FAN_IN = ["umamba_bottleneck_2d", "umamba_encoder_3d", "umamba_paper_3d", "lkm_unet_2d", "swin_umamba_d_2d"]


def inside(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> set[nn.Module]:
    return {part for module in net.modules() if isinstance(module, kinds) for part in module.modules()}


def deviation(values: list[Tensor]) -> float:
    return float(torch.cat([value.detach().flatten() for value in values]).square().mean().sqrt())


@pytest.mark.parametrize("case", CASES)
def test_cores_and_norms(case: str) -> None:
    net = build(case)
    for name, module in net.named_modules():
        if isinstance(module, NORMS) and module.weight is not None:
            assert (module.weight == 1).all(), name
            assert getattr(module, "bias", None) is None or not module.bias.any(), name
        if not isinstance(module, (Mamba, ScanMixer, VisionMixer)):
            continue
        own = dict(module.named_parameters(recurse=False))
        for key in {"A_log", "A_b_log", "A_s_log", "A_logs"} & set(own):
            rates = torch.arange(1.0, own[key].shape[-1] + 1).expand_as(own[key])
            assert torch.allclose(own[key].exp(), rates), f"{name}.{key}"
        for key in {"D", "D_b", "D_s", "Ds"} & set(own):
            assert (own[key] == 1).all(), f"{name}.{key}"
        bias = own["dt_projs_bias"] if isinstance(module, ScanMixer) else module.dt_proj.bias
        step = F.softplus(bias.detach())
        assert step.min() > 0.99e-3 and step.max() < 1.01e-1, name


@pytest.mark.parametrize("case", SMALL_LINEAR)
def test_linear_maps(case: str) -> None:
    net = build(case)
    kept = inside(net, (Mamba, VisionMixer))
    linears = [m for m in net.modules() if isinstance(m, nn.Linear) and m not in kept]
    assert linears and abs(deviation([m.weight for m in linears]) - 0.02) < 0.002
    assert all(m.bias is None or not m.bias.any() for m in linears)


@pytest.mark.parametrize("case", [*FAN_OUT, *FAN_IN])
def test_convolutions(case: str) -> None:
    net = build(case)
    kinds = (
        (nn.Conv2d, nn.Conv3d) if case in FAN_OUT else (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    )
    convs = [m for m in net.modules() if isinstance(m, kinds)]
    scaled = []
    for m in convs:
        fan_in = m.weight[0].numel()
        fan_out = m.weight[0, 0].numel() * m.out_channels / m.groups
        expected = math.sqrt(2 / fan_out) if case in FAN_OUT else math.sqrt(2 / (1 + 0.01**2) / fan_in)
        scaled.append(m.weight / expected)
    assert convs and abs(deviation(scaled) - 1) < 0.08
    assert all(m.bias is None or not m.bias.any() for m in convs)
