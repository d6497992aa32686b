"""Backbones with scans of their own against their equations, on weights under the authors' names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medmamba_monai.networks.layers.plain_mamba import PlainMambaMixer
from medmamba_monai.networks.nets import (
    EfficientVMamba,
    LocalVim,
    LocalVMamba,
    PlainMamba,
    Vim,
)
from tests.networks import equations, path_equations
from tests.networks.equations import part
from tests.networks.named_weights import (
    Shapes,
    classified,
    drawn,
    embedded,
    frame,
    gate_shapes,
    load,
    mamba_shapes,
    norm,
    projections,
    ss2d,
)


def test_efficient_vmamba() -> None:
    block, residual, merge = "layers.0.blocks.0.", "layers.1.1.", "layers.0.downsample."
    shapes = frame([8, 16]) | norm(f"{block}norm", 8) | ss2d(f"{block}op.", 8, 16) | gate_shapes(f"{block}se.", 8)
    shapes |= norm(f"{block}conv_branch.1", 8, batch=True) | norm(f"{merge}norm", 32)
    shapes |= {
        f"{block}conv_branch.0.weight": (8, 1, 3, 3),
        f"{block}conv_branch.0.bias": (8,),
        f"{block}conv_branch.3.weight": (8, 8, 1, 1),
        f"{block}conv_branch.3.bias": (8,),
        f"{merge}reduction.weight": (16, 32),
        f"{residual}conv_pw.0.weight": (64, 16, 1, 1),
        f"{residual}conv_dw.0.weight": (64, 1, 3, 3),
        f"{residual}se.conv_reduce.weight": (8, 64, 1, 1),
        f"{residual}se.conv_reduce.bias": (8,),
        f"{residual}se.conv_expand.weight": (64, 8, 1, 1),
        f"{residual}se.conv_expand.bias": (64,),
        f"{residual}conv_pw2.0.weight": (16, 64, 1, 1),
    }
    for name, channels in (("conv_pw.1", 64), ("conv_dw.1", 64), ("conv_pw2.1", 16)):
        shapes |= norm(f"{residual}{name}", channels, batch=True)
    state = drawn(shapes)
    net = load(EfficientVMamba(2, 3, 3, depths=[1, 1], dims=[8, 16], scan_stages=1), state)
    x = torch.randn(2, 3, 16, 24)
    y = equations.efficient_block(embedded(x, state), part(state, block))
    y = equations.patch_merging(y, state, "layers.0.downsample").movedim(-1, 1)
    y = equations.inverted_residual(y, part(state, residual)).movedim(1, -1)
    torch.testing.assert_close(net(x), classified(y, state), atol=1e-4, rtol=1e-4)


def plain_shapes(dim: int) -> Shapes:
    layer = "backbone.layers.0."
    shapes: Shapes = {
        "backbone.patch_embed.stem.0.weight": (4, 3, 7, 7),
        **norm("backbone.patch_embed.stem.1", 4, batch=True),
        "backbone.patch_embed.convs.0.weight": (4, 4, 3, 3),
        **norm("backbone.patch_embed.convs.1", 4, batch=True),
        "backbone.patch_embed.convs.3.weight": (4, 4, 3, 3),
        **norm("backbone.patch_embed.convs.4", 4, batch=True),
        "backbone.patch_embed.projection.weight": (dim, 4, 2, 2),
        "backbone.patch_embed.projection.bias": (dim,),
        "backbone.pos_embed": (1, 20, dim),
        **norm(f"{layer}norm", dim),
        f"{layer}dw.0.weight": (dim, 1, 3, 3),
        **norm(f"{layer}dw.1", dim, batch=True),
        **projections(f"{layer}mamba.", dim, bias=True),
        **mamba_shapes(f"{layer}mamba.", dim),
        f"{layer}mamba.conv2d.weight": (2 * dim, 1, 3, 3),
        f"{layer}mamba.conv2d.bias": (2 * dim,),
        f"{layer}mamba.direction_Bs": (5, 16),
        **norm("backbone.ln1", dim),
        "head.fc.weight": (3, dim),
        "head.fc.bias": (3,),
    }
    return {name: shape for name, shape in shapes.items() if "conv1d" not in name}


def test_plain_mamba() -> None:
    state = drawn(plain_shapes(8))
    given = {"img_size": [16, 20], "patch_size": 4, "dim": 8, "depth": 1, "stem_channels": 4, "stem_depth": 2}
    net = load(PlainMamba(2, 3, 3, convolved=[0], selection="raster", d_conv=3, **given), state)
    x, s = torch.randn(2, 3, 16, 20), part(state, "backbone.")
    y = F.relu(equations.batch_norm(equations.conv(x, s, "patch_embed.stem.0", stride=2), s, "patch_embed.stem.1"))
    for i in (0, 3):
        y = equations.conv(y, s, f"patch_embed.convs.{i}")
        y = F.relu(equations.batch_norm(y, s, f"patch_embed.convs.{i + 1}"))
    y = F.conv2d(y, s["patch_embed.projection.weight"], s["patch_embed.projection.bias"], 2)
    y = y.movedim(1, -1) + s["pos_embed"].reshape(1, 4, 5, 8)
    layer = part(s, "layers.0.")
    y = y + equations.plain_mixer(equations.layer_norm(y, layer, "norm"), part(layer, "mamba."))
    y = F.gelu(equations.batch_norm(equations.conv(y.movedim(-1, 1), layer, "dw.0", 8), layer, "dw.1"))
    pooled = equations.layer_norm(y.movedim(1, -1), s, "ln1", 1e-6).mean((1, 2))
    expected = F.linear(pooled, state["head.fc.weight"], state["head.fc.bias"])
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_plain_mamba_selects_by_the_token_it_reads(spatial_dims: int) -> None:
    x = 3 * torch.randn(1, *(3, 5, 3)[:spatial_dims], 4)
    axes = tuple(range(1, spatial_dims + 1))
    turned = {}
    for selection in ("scanned", "raster"):
        mixer = PlainMambaMixer(4, spatial_dims, d_conv=3, selection=selection)
        torch.nn.init.zeros_(mixer.moves)
        torch.nn.init.constant_(mixer.conv.weight, 0.1)
        torch.nn.init.normal_(mixer.x_proj.weight)
        # grids of odd sides are walked the same ways when turned by half a circle
        turned[selection] = (mixer(x.flip(axes)).flip(axes) - mixer(x)).abs().max() / mixer(x).abs().max()
    assert turned["scanned"] < 1e-4 and turned["raster"] > 1e-3


LOCAL, LOCAL_ORDER = ["h", "v_flip", "w2", "w2_flip"], "hw+-wh+windows:2+-windows:2"


def test_local_vmamba() -> None:
    block = "layers.0.blocks.0."
    shapes = frame([8]) | norm(f"{block}norm", 8) | ss2d(f"{block}op.", 8, 16)
    state = drawn(shapes | gate_shapes(f"{block}op.multi_scan.attn.", 16))
    net = load(LocalVMamba(2, 3, 3, depths=[1], dims=[8], order=LOCAL_ORDER), state)
    # a grid of 3 x 4: whole windows along one axis only
    x = torch.randn(2, 3, 12, 16)
    tokens, s = embedded(x, state), part(state, block)
    mixed, gate = equations.ss2d(
        equations.layer_norm(tokens, s, "norm"), part(s, "op."), path_equations.local_scan(LOCAL)
    )
    y = tokens + F.linear(mixed * gate, s["op.out_proj.weight"])
    torch.testing.assert_close(net(x), classified(y, state), atol=1e-4, rtol=1e-4)


def test_local_vim() -> None:
    mixer = "layers.0.mixer."
    shapes: Shapes = {"patch_embed.proj.weight": (8, 3, 4, 4), "patch_embed.proj.bias": (8,), "pos_embed": (1, 12, 8)}
    shapes |= {"rope.freqs_cos": (12, 8), "rope.freqs_sin": (12, 8), "norm_f.weight": (8,), "head.bias": (3,)}
    shapes |= {"layers.0.norm.weight": (8,), "head.weight": (3, 8)} | gate_shapes(f"{mixer}attn.", 16)
    shapes |= projections(mixer, 8)
    for k in range(4):
        shapes |= mamba_shapes(mixer, 8, suffix=f"_{k}")
    state = drawn(shapes)
    given = {"img_size": [12, 16], "patch_size": 4, "dim": 8, "depth": 1, "rotary": False}
    net, x = load(LocalVim(2, 3, 3, order=LOCAL_ORDER, **given), state), torch.randn(2, 3, 12, 16)
    y = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], 4)
    y = y.flatten(2).transpose(1, 2) + state["pos_embed"]
    normed = F.rms_norm(y, (8,), state["layers.0.norm.weight"], 1e-5)
    y = y + path_equations.local_mixer(normed, part(state, mixer), LOCAL, 3, 4)
    pooled = F.rms_norm(y, (8,), state["norm_f.weight"], 1e-5).mean(1)
    expected = F.linear(pooled, state["head.weight"], state["head.bias"])
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


def test_local_vim_turns_its_tokens_and_needs_a_pool_of_the_grid() -> None:
    assert LocalVim(2, 1, 2, img_size=8, patch_size=4, dim=8, depth=1).rotary
    with pytest.raises(ValueError, match="mixer 'local' reads the grid alone"):
        Vim(2, 1, 2, img_size=8, patch_size=4, dim=8, depth=1, mixer="local")
