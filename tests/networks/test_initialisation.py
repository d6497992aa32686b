"""Initial values: those of the authors' code."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.scan_mixer import ScanMixer
from medmamba_monai.networks.nets import MedMamba, UMamba


def close(a: float, b: float, relative: float = 0.1) -> bool:
    return abs(a - b) <= relative * b


def check_dt_bias(bias: torch.Tensor) -> None:
    dt = F.softplus(bias.detach()).flatten()
    assert 0.000999 <= dt.min() and dt.max() <= 0.1001
    # log-uniform: the middle of the logarithms
    assert abs(dt.log().mean() - (math.log(0.001) + math.log(0.1)) / 2) < 0.2


def check_uniform(weight: torch.Tensor, bound: float) -> None:
    assert weight.abs().max() <= bound
    assert close(float(weight.detach().std()), bound / math.sqrt(3))


def test_mamba() -> None:
    torch.manual_seed(0)
    mixer = Mamba(64, d_state=8)
    assert torch.allclose(mixer.A_log.exp(), torch.arange(1.0, 9.0).expand(128, 8))
    assert (mixer.D == 1).all()
    check_dt_bias(mixer.dt_proj.bias)
    check_uniform(mixer.dt_proj.weight, 4**-0.5)
    check_uniform(mixer.in_proj.weight, 64**-0.5)
    check_uniform(mixer.x_proj.weight, 128**-0.5)
    check_uniform(mixer.conv1d.weight, 0.5)


def test_scan_mixer() -> None:
    torch.manual_seed(0)
    mixer = ScanMixer(64, spatial_dims=3, d_state=8)
    assert mixer.A_logs.shape == (6 * 128, 8)
    assert torch.allclose(mixer.A_logs.exp(), torch.arange(1.0, 9.0).expand(768, 8))
    assert (mixer.Ds == 1).all()
    check_dt_bias(mixer.dt_projs_bias)
    check_uniform(mixer.dt_projs_weight, 4**-0.5)
    check_uniform(mixer.x_proj_weight, 128**-0.5)


def test_medmamba() -> None:
    torch.manual_seed(0)
    net = MedMamba(2, 3, 5, depths=[1, 1], dims=[64, 128])
    linears = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 6
    for linear in linears:
        assert close(float(linear.weight.detach().std()), 0.02)
        assert linear.bias is None or not linear.bias.any()
    for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
        fan_out = conv.weight.shape[0] * conv.weight[0, 0].numel()
        assert close(float(conv.weight.detach().std()), math.sqrt(2 / fan_out))
        assert conv.bias is not None and conv.bias.any()
    norms = [m for m in net.modules() if isinstance(m, (nn.LayerNorm, nn.BatchNorm2d))]
    assert all(m.eps == 1e-5 and (m.weight == 1).all() and not m.bias.any() for m in norms)


def test_medmamba_drops_more_paths_the_deeper() -> None:
    net = MedMamba(2, 1, 2, depths=[2, 1], dims=[8, 16], drop_path_rate=0.2)
    blocks = [block for stage in net.stages for block in stage]
    assert [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks] == [0.0, *torch.tensor([0.1, 0.2]).tolist()]


def test_umamba() -> None:
    torch.manual_seed(0)
    net = UMamba(3, 1, 2, features=[16, 32], variant="encoder")
    for conv in (m for m in net.modules() if isinstance(m, nn.Conv3d) and m.weight.numel() > 4000):
        fan_in = conv.weight[0].numel()
        assert close(float(conv.weight.detach().std()), math.sqrt(2 / (1 + 0.01**2) / fan_in))
        assert conv.bias is not None and not conv.bias.any()
    mixer = net.mixers[1].mamba
    check_uniform(mixer.in_proj.weight, 32**-0.5)
    check_uniform(mixer.conv1d.weight, 0.5)
    check_dt_bias(mixer.dt_proj.bias)
    norms = [m for m in net.modules() if isinstance(m, nn.GroupNorm)]
    assert norms and all(m.eps == 1e-5 and (m.weight == 1).all() and not m.bias.any() for m in norms)
