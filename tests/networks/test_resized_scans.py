"""UVM-Net and FD-Vision Mamba against their equations, on weights under the authors' names."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from torch import nn

from medmamba_monai.networks.blocks.resized_scan import polar
from medmamba_monai.networks.nets import FDVisionMamba, UVMNet
from medmamba_monai.weights import convert
from tests.networks import restoration_equations as equations
from tests.networks.test_backbones import Shapes, drawn, load, norm
from tests.networks.test_mambair_v2 import linear

DESIGNS = pytest.mark.parametrize("design", ["sound", "released"])


def mamba_shapes(prefix: str, d: int) -> Shapes:
    inner, rank = 2 * d, -(-d // 16)
    return {
        f"{prefix}in_proj.weight": (2 * inner, d),
        f"{prefix}conv1d.weight": (inner, 1, 4),
        f"{prefix}conv1d.bias": (inner,),
        f"{prefix}x_proj.weight": (rank + 32, inner),
        f"{prefix}dt_proj.weight": (inner, rank),
        f"{prefix}dt_proj.bias": (inner,),
        f"{prefix}A_log": (inner, 16),
        f"{prefix}D": (inner,),
        f"{prefix}out_proj.weight": (d, inner),
    }


def frequency_shapes(prefix: str, c: int, width: int) -> Shapes:
    shapes = {
        **linear(f"{prefix}convb.0", c, 8, 3),
        **linear(f"{prefix}convb.2", 8, c, 3),
        **norm(f"{prefix}ln", c),
        **mamba_shapes(f"{prefix}model1.", c),
        **mamba_shapes(f"{prefix}model2.", c),
    }
    for name in ("con1_1", "con1_2", "cross_1", "cross_2"):
        shapes |= {f"{prefix}{name}.weight": (width, width, 3), f"{prefix}{name}.bias": (width,)}
    return shapes


def stage_shapes(prefix: str, c: int, mid: int, out: int, side: int) -> Shapes:
    ub, double = f"{prefix}ub.", f"{prefix}double_conv."
    return {
        **linear(f"{ub}convb.0", c, 16, 3),
        **linear(f"{ub}convb.2", 16, c, 3),
        **norm(f"{ub}ln", c),
        **mamba_shapes(f"{ub}model1.", c),
        **mamba_shapes(f"{ub}model2.", c),
        **mamba_shapes(f"{ub}model3.", side**2),
        **linear(f"{ub}smooth", c, c, 3),
        f"{double}0.weight": (mid, c, 3, 3),
        **norm(f"{double}1", mid, batch=True),
        f"{double}3.weight": (out, mid, 3, 3),
        **norm(f"{double}4", out, batch=True),
    }


@DESIGNS
def test_frequencies_are_scanned_as_their_equations(design: str, caplog: pytest.LogCaptureFixture) -> None:
    released, side = design == "released", 4
    state: Shapes = {}
    for i in range(2):
        state |= frequency_shapes(f"feats.{i}.", 3, side**2 if released else 3)
    weights = drawn(state)
    net = FDVisionMamba(2, 3, depth=2, side=side, design=design).eval()
    with caplog.at_level(logging.INFO, "medmamba_monai.weights.convert"):
        net.load_state_dict(convert(weights, net), strict=True)
    assert ("cross_2" in caplog.text) == released
    x = torch.rand(2, 3, 5, 7)
    expected = equations.fd_vision_mamba(x, weights, side, released)
    torch.testing.assert_close(net(x), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@DESIGNS
def test_a_unet_of_scans_is_its_equations(design: str) -> None:
    released, side = design == "released", 4
    shapes = {
        **stage_shapes("inc.", 1, 4, 4, side),
        **stage_shapes("down1.maxpool_conv.1.", 4, 6, 6, side),
        **stage_shapes("down2.maxpool_conv.1.", 6, 6, 6, side),
        **stage_shapes("up1.conv.", 12, 6, 4, side),
        **stage_shapes("up2.conv.", 8, 4, 4, side),
        **linear("outc.conv", 4, 1, 1),
    }
    state = drawn(shapes)
    net = load(UVMNet(2, 1, features=[4, 6, 6], side=side, design=design), state)
    x = torch.randn(2, 1, 9, 14)
    expected = equations.uvm_net(x, state, side, released)
    torch.testing.assert_close(net(x), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_the_released_softmax_mixes_the_batch() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 6, 6)
    for net in (FDVisionMamba(2, 3, depth=1, side=4), UVMNet(2, 3, features=[4, 4], side=4)):
        alone = net.eval()(x[:1])
        torch.testing.assert_close(net(x)[:1], alone, atol=1e-5, rtol=1e-4)
    for net in (FDVisionMamba(2, 3, None, 1, 4, design="released"), UVMNet(2, 3, None, [4, 4], 4, design="released")):
        assert not torch.allclose(net.eval()(x)[:1], net(x[:1]), atol=1e-5)


def test_phases_of_real_numbers_do_not_hang_on_rounding() -> None:
    amplitude, phase = polar(torch.tensor([-1 - 1e-8j, -1 + 1e-8j, 2 - 0j, -1j]))
    torch.testing.assert_close(amplitude, torch.tensor([1.0, 1, 2, 1]))
    torch.testing.assert_close(phase, torch.tensor([math.pi, math.pi, 0, -math.pi / 2]))


def test_a_black_image_has_gradients() -> None:
    net, x = FDVisionMamba(2, 1, depth=2, side=4), torch.zeros(1, 1, 5, 6, requires_grad=True)
    net(x).square().mean().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_only_the_sound_design_can_darken() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 1, 8, 8)
    released = FDVisionMamba(2, 1, depth=1, side=4, design="released")(x)
    assert (released > x).all()
    assert not (FDVisionMamba(2, 1, depth=1, side=4)(x - 0.5) > x - 0.5).all()


def test_axes_of_one_voxel_are_kept() -> None:
    net = UVMNet(3, 1, features=[4, 4, 4], side=2).eval()
    assert net(torch.rand(1, 1, 1, 9, 10)).shape == (1, 1, 1, 9, 10)
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    x = torch.rand(1, 1, 2, 3, 5)
    torch.testing.assert_close(net(x), x)
    with pytest.raises(ValueError, match="features is .*two levels"):
        UVMNet(2, 1, features=[4])
    with pytest.raises(ValueError, match="design is 'paper'"):
        UVMNet(2, 1, features=[4, 4], side=4, design="paper")
    with pytest.raises(ValueError, match="design is 'paper'"):
        FDVisionMamba(2, 1, design="paper")
