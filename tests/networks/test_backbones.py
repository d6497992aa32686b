"""The plain and the light backbones against their equations, on weights under the authors' names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medmamba_monai.networks.nets import MicroscopicMamba
from medmamba_monai.weights import convert
from tests.networks import equations
from tests.networks.equations import part

Shapes = dict[str, tuple[int, ...]]


def drawn(shapes: Shapes) -> dict[str, Tensor]:
    """Weights for names and shapes: norms near one, variances positive, the rest small."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        value = 0.3 * torch.randn(shape, generator=generator)
        near_one = len(shape) == 1 and name.endswith(("weight", "Ds", ".D"))
        state[name] = value.abs() + 0.5 if name.endswith("running_var") else value + 1 if near_one else value
    return state


def load(net: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    net.load_state_dict(convert(state, net), strict=True)
    return net.eval()


def norm(name: str, channels: int, batch: bool = False) -> Shapes:
    kept = ("weight", "bias", "running_mean", "running_var") if batch else ("weight", "bias")
    return {f"{name}.{kind}": (channels,) for kind in kept}


def ss2d(prefix: str, channels: int, inner: int, sequences: int = 4, d_state: int = 16) -> Shapes:
    """Names and shapes of VMamba's first mixer."""
    rank = -(-channels // 16)
    return {
        f"{prefix}in_proj.weight": (2 * inner, channels),
        f"{prefix}conv2d.weight": (inner, 1, 3, 3),
        f"{prefix}conv2d.bias": (inner,),
        f"{prefix}x_proj_weight": (sequences, rank + 2 * d_state, inner),
        f"{prefix}dt_projs_weight": (sequences, inner, rank),
        f"{prefix}dt_projs_bias": (sequences, inner),
        f"{prefix}A_logs": (sequences * inner, d_state),
        f"{prefix}Ds": (sequences * inner,),
        **norm(f"{prefix}out_norm", inner),
        f"{prefix}out_proj.weight": (channels, inner),
    }


def microscopic_shapes(width: int) -> Shapes:
    half, eighth = width // 2, width // 8
    block = "layers.0.blocks.0."
    return {
        "patch_embed.0.c.weight": (half, 3, 3, 3),
        **norm("patch_embed.0.bn", half, batch=True),
        "patch_embed.2.c.weight": (width, half, 3, 3),
        **norm("patch_embed.2.bn", width, batch=True),
        f"{block}MIFA.DWConv.weight": (half, 1, 3, 3),
        f"{block}MIFA.DWConv.bias": (half,),
        f"{block}MIFA.attention.conv.weight": (width, 1, 1),
        **norm(f"{block}Conv_branch.0", half, batch=True),
        f"{block}Conv_branch.1.weight": (half, 1, 3, 3),
        f"{block}Conv_branch.1.bias": (half,),
        **norm(f"{block}Conv_branch.2", half, batch=True),
        f"{block}Conv_branch.4.weight": (width, 1, 3, 3),
        f"{block}Conv_branch.4.bias": (width,),
        **norm(f"{block}Conv_branch.5", width, batch=True),
        f"{block}Conv_branch.7.weight": (half, width, 1, 1),
        f"{block}Conv_branch.7.bias": (half,),
        **norm(f"{block}Conv_branch.8", half, batch=True),
        f"{block}pvm_layer.skip_scale": (1,),
        **norm(f"{block}pvm_layer.norm", half),
        f"{block}pvm_layer.proj.weight": (half, half),
        f"{block}pvm_layer.proj.bias": (half,),
        **ss2d(f"{block}pvm_layer.mamba.", eighth, 2 * eighth),
        f"{block}pvm_layer.mamba.PSFFN.conv_0.weight": (eighth, 2 * eighth, 1, 1),
        f"{block}pvm_layer.mamba.PSFFN.conv_0.bias": (eighth,),
        f"{block}pvm_layer.mamba.PSFFN.conv_1.weight": (eighth // 4, 1, 3, 3),
        f"{block}pvm_layer.mamba.PSFFN.conv_1.bias": (eighth // 4,),
        "head.weight": (5, width),
        "head.bias": (5,),
    }


@pytest.mark.parametrize("design", ["sound", "released"])
def test_microscopic_mamba(design: str) -> None:
    state = drawn(microscopic_shapes(32))
    net = load(MicroscopicMamba(2, 3, 5, depths=[1], dims=[32], design=design), state)
    x = torch.randn(2, 3, 16, 16)
    y = equations.batch_norm(equations.conv(x, state, "patch_embed.0.c", stride=2), state, "patch_embed.0.bn")
    y = equations.conv(torch.nn.functional.gelu(y), state, "patch_embed.2.c", stride=2)
    y = equations.batch_norm(y, state, "patch_embed.2.bn").movedim(1, -1)
    y = equations.microscopic_block(y, part(state, "layers.0.blocks.0."), swap=design == "released")
    expected = torch.nn.functional.linear(y.mean((1, 2)), state["head.weight"], state["head.bias"])
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


def test_microscopic_mamba_needs_squares_for_the_released_form() -> None:
    net = MicroscopicMamba(2, 1, 2, depths=[1], dims=[32], design="released")
    with pytest.raises(ValueError, match=r"the grid is \(4, 5\).*square"):
        net(torch.zeros(1, 1, 16, 20))


@pytest.mark.parametrize("channels", [24, 16])
def test_microscopic_mamba_needs_eighths(channels: int) -> None:
    with pytest.raises(ValueError, match=f"channels is {channels}"):
        MicroscopicMamba(2, 1, 2, depths=[1], dims=[channels])
