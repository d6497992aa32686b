"""Microscopic-Mamba and Mamba-ND against their equations, on weights under the authors' names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.nets import (
    MambaND,
    MicroscopicMamba,
)
from tests.networks import equations
from tests.networks.equations import part
from tests.networks.named_weights import (
    Shapes,
    drawn,
    load,
    mamba_shapes,
    norm,
    projections,
    ss2d,
)


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
    y = equations.conv(F.gelu(y), state, "patch_embed.2.c", stride=2)
    y = equations.batch_norm(y, state, "patch_embed.2.bn").movedim(1, -1)
    y = equations.microscopic_block(y, part(state, "layers.0.blocks.0."), swap=design == "released")
    expected = F.linear(y.mean((1, 2)), state["head.weight"], state["head.bias"])
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


def test_microscopic_mamba_needs_squares_for_the_released_form() -> None:
    net = MicroscopicMamba(2, 1, 2, depths=[1], dims=[32], design="released")
    with pytest.raises(ValueError, match=r"the grid is \(4, 5\).*square"):
        net(torch.zeros(1, 1, 16, 20))


@pytest.mark.parametrize("channels", [24, 16])
def test_microscopic_mamba_needs_eighths(channels: int) -> None:
    with pytest.raises(ValueError, match=f"channels is {channels}"):
        MicroscopicMamba(2, 1, 2, depths=[1], dims=[channels])


def mamba_nd_shapes(dim: int, depth: int, patch: tuple[int, ...], tokens: int, halved: int | None) -> Shapes:
    shapes: Shapes = {
        "backbone.patch_embed.projection.weight": (dim, 3, *patch),
        "backbone.patch_embed.projection.bias": (dim,),
        "backbone.pos_embed": (1, tokens, dim),
    }
    for i in range(depth):
        layer = f"backbone.layers.{i}."
        shapes |= projections(f"{layer}mixer.", dim) | mamba_shapes(f"{layer}mixer.", dim) | norm(f"{layer}norm", dim)
    if halved is not None:
        merge = f"backbone.layers.{halved}.down_sample_layer."
        shapes |= {f"{merge}reduction.weight": (dim, 4 * dim), **norm(f"{merge}norm", 4 * dim)}
    return shapes


def mamba_nd_layer(x: Tensor, s: dict[str, Tensor], axes: str, backward: bool) -> Tensor:
    """A layer of the authors' code on a grid (B, *S, C): the residual starts behind the norm."""
    letters = "dhw"[-len(axes) :]
    y = equations.layer_norm(x, s, "norm").permute(0, *(1 + letters.index(a) for a in axes), -1)
    read = y.flatten(1, -2).flip(1) if backward else y.flatten(1, -2)
    mixed = read + equations.mamba(read, part(s, "mixer."))
    back = (mixed.flip(1) if backward else mixed).reshape(y.shape)
    return back.permute(0, *(1 + axes.index(a) for a in letters), -1)


def test_mamba_nd_for_images() -> None:
    shapes = mamba_nd_shapes(8, 4, (4, 4), 16, halved=1)
    shapes |= norm("backbone.ln1", 8) | norm("backbone.ln2", 8) | {"head.fc.weight": (3, 8), "head.fc.bias": (3,)}
    state = drawn(shapes)
    given = {"img_size": 16, "patch_size": 4, "dim": 8, "depth": 4, "halve_after": [1], "residual": "normed"}
    net, x = load(MambaND(2, 3, 3, **given), state), torch.randn(2, 3, 16, 16)
    s = part(state, "backbone.")
    y = F.conv2d(x, s["patch_embed.projection.weight"], s["patch_embed.projection.bias"], 4)
    y = y.movedim(1, -1) + s["pos_embed"].reshape(1, 4, 4, 8)
    for i, (axes, backward) in enumerate([("hw", False), ("hw", True), ("wh", False), ("wh", True)]):
        y = mamba_nd_layer(y, part(s, f"layers.{i}."), axes, backward)
        if i == 1:
            cells = F.unfold(y.movedim(-1, 1), 2, stride=2).transpose(1, 2)
            merge = part(s, "layers.1.down_sample_layer.")
            y = F.linear(equations.layer_norm(cells, merge, "norm"), merge["reduction.weight"]).reshape(2, 2, 2, 8)
    pooled = equations.layer_norm(y, s, "ln1", 1e-6).mean((1, 2))
    pooled = equations.layer_norm(pooled, s, "ln2", 1e-6)
    expected = F.linear(pooled, state["head.fc.weight"], state["head.fc.bias"])
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


def test_mamba_nd_for_videos() -> None:
    shapes = mamba_nd_shapes(8, 6, (2, 4, 4), 3 * 2 * 2, halved=None)
    state = drawn(shapes | {"cls_head.fc_cls.weight": (3, 8), "cls_head.fc_cls.bias": (3,)})
    given = {"img_size": [6, 8, 8], "patch_size": [2, 4, 4], "dim": 8, "depth": 6, "residual": "normed"}
    net, x = load(MambaND(3, 3, 3, norms="none", **given), state), torch.randn(2, 3, 6, 8, 8)
    s = part(state, "backbone.")
    y = F.conv3d(x, s["patch_embed.projection.weight"], s["patch_embed.projection.bias"], (2, 4, 4))
    y = y.movedim(1, -1) + s["pos_embed"].reshape(1, 3, 2, 2, 8)
    for i in range(6):
        y = mamba_nd_layer(y, part(s, f"layers.{i}."), ("dhw", "dwh", "whd")[i // 2], i % 2 == 1)
    expected = F.linear(y.mean((1, 2, 3)), state["cls_head.fc_cls.weight"], state["cls_head.fc_cls.bias"])
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


def test_mamba_nd_keeps_its_input_in_the_plain_residual() -> None:
    net = MambaND(2, 1, 2, img_size=8, patch_size=4, dim=8, depth=1, norms="none", features_only=True).eval()
    x = torch.randn(1, 1, 8, 8)
    torch.nn.init.zeros_(net.mixers[0].cores[0].out_proj.weight)
    torch.testing.assert_close(net(x)[0].movedim(1, -1), net.patch_embed(x))


def test_mamba_nd_gives_a_map_in_front_of_every_halving() -> None:
    net = MambaND(2, 1, 2, img_size=16, patch_size=4, dim=8, depth=3, halve_after=[0, 1], features_only=True)
    assert [tuple(y.shape) for y in net(torch.zeros(1, 1, 16, 20))] == [(1, 8, 4, 5), (1, 8, 2, 3), (1, 8, 1, 2)]
    with pytest.raises(ValueError, match=r"halve_after is \[2\]"):
        MambaND(depth=3, halve_after=[2])
