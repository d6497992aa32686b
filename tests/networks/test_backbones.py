"""The plain and the light backbones against their equations, on weights under the authors' names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.plain_mamba import PlainMambaMixer
from medmamba_monai.networks.nets import (
    MHSVM,
    EfficientVMamba,
    LocalVim,
    LocalVMamba,
    MambaND,
    MicroscopicMamba,
    PlainMamba,
    SliceMamba,
    Vim,
)
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


def mamba_shapes(prefix: str, dim: int, d_state: int = 16, suffix: str = "") -> Shapes:
    """Names and shapes of a Mamba layer between its outer projections."""
    inner, rank = 2 * dim, -(-dim // 16)
    return {
        f"{prefix}conv1d{suffix}.weight": (inner, 1, 4),
        f"{prefix}conv1d{suffix}.bias": (inner,),
        f"{prefix}x_proj{suffix}.weight": (rank + 2 * d_state, inner),
        f"{prefix}dt_proj{suffix}.weight": (inner, rank),
        f"{prefix}dt_proj{suffix}.bias": (inner,),
        f"{prefix}A_log{suffix}": (inner, d_state),
        f"{prefix}D{suffix}": (inner,),
    }


def projections(prefix: str, dim: int, bias: bool = False) -> Shapes:
    """Names and shapes of a mixer's outer projections."""
    shapes: Shapes = {f"{prefix}in_proj.weight": (4 * dim, dim), f"{prefix}out_proj.weight": (dim, 2 * dim)}
    return {**shapes, f"{prefix}in_proj.bias": (4 * dim,), f"{prefix}out_proj.bias": (dim,)} if bias else shapes


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


def frame(dims: list[int], classes: int = 3) -> Shapes:
    """Names and shapes around the blocks of a classifier in VMamba's first form, with patches of side 4."""
    shapes: Shapes = {"patch_embed.0.weight": (dims[0], 3, 4, 4), "patch_embed.0.bias": (dims[0],)}
    shapes |= norm("patch_embed.2", dims[0]) | norm("classifier.norm", dims[-1])
    return shapes | {"classifier.head.weight": (classes, dims[-1]), "classifier.head.bias": (classes,)}


def gate_shapes(prefix: str, channels: int) -> Shapes:
    middle = channels // 8
    return {
        **norm(f"{prefix}norm", channels),
        f"{prefix}global_reduce.weight": (middle, channels),
        f"{prefix}global_reduce.bias": (middle,),
        f"{prefix}channel_select.weight": (channels, middle),
        f"{prefix}channel_select.bias": (channels,),
    }


def embedded(x: Tensor, s: dict[str, Tensor]) -> Tensor:
    """VMamba's first patch embedding."""
    y = F.conv2d(x, s["patch_embed.0.weight"], s["patch_embed.0.bias"], 4)
    return equations.layer_norm(y.movedim(1, -1), s, "patch_embed.2")


def classified(y: Tensor, s: dict[str, Tensor]) -> Tensor:
    """VMamba's classifier of a grid (B, H, W, C)."""
    pooled = equations.layer_norm(y, s, "classifier.norm").mean((1, 2))
    return F.linear(pooled, s["classifier.head.weight"], s["classifier.head.bias"])


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
    mixed, gate = equations.ss2d(equations.layer_norm(tokens, s, "norm"), part(s, "op."), equations.local_scan(LOCAL))
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
    y = y + equations.local_mixer(normed, part(state, mixer), LOCAL, 3, 4)
    pooled = F.rms_norm(y, (8,), state["norm_f.weight"], 1e-5).mean(1)
    expected = F.linear(pooled, state["head.weight"], state["head.bias"])
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


def test_local_vim_turns_its_tokens_and_needs_a_pool_of_the_grid() -> None:
    assert LocalVim(2, 1, 2, img_size=8, patch_size=4, dim=8, depth=1).rotary
    with pytest.raises(ValueError, match="mixer 'local' reads the grid alone"):
        Vim(2, 1, 2, img_size=8, patch_size=4, dim=8, depth=1, mixer="local")


def vm_unet_shapes(prefix: str, mixer: Callable[[str, int], Shapes]) -> Shapes:
    """Names and shapes of a VM-UNet with two stages of 8 and 16 channels and one block in each."""
    shapes: Shapes = {
        "patch_embed.proj.weight": (8, 3, 4, 4),
        "patch_embed.proj.bias": (8,),
        "layers.0.downsample.reduction.weight": (16, 32),
        "layers_up.1.upsample.expand.weight": (32, 16),
        "final_up.expand.weight": (32, 8),
        "final_conv.weight": (1, 2, 1, 1),
        "final_conv.bias": (1,),
    }
    for name, channels in (("patch_embed.norm", 8), ("layers.0.downsample.norm", 32), ("layers_up.1.upsample.norm", 8)):
        shapes |= norm(name, channels)
    shapes |= norm("final_up.norm", 2)
    for name, channels in (("layers.0", 8), ("layers.1", 16), ("layers_up.0", 16), ("layers_up.1", 8)):
        block = f"{name}.blocks.0."
        shapes |= norm(f"{block}ln_1", channels) | mixer(f"{block}self_attention.", channels)
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def heads_shapes(prefix: str, channels: int) -> Shapes:
    head, shapes = channels // 4, ss2d(prefix, channels, channels)
    stacked = ("x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds")
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith((*stacked, "out_proj.weight"))}
    shapes |= norm(f"{prefix}mhs.cat_norm", channels)
    shapes |= {f"{prefix}mhs.{name}": (channels, channels) for name in ("x_ssproj.weight", "y_proj.weight")}
    for pattern in "CXSZ":
        own = ss2d(f"{prefix}mhs.scanhead_{pattern}.mambaeng.", head, head)
        shapes |= {name: shape for name, shape in own.items() if name.endswith(stacked)}
    return shapes


SMALL = {"depths": [1, 1], "depths_decoder": [1, 1], "dims": [8, 16]}


def test_slice_mamba() -> None:
    state = drawn(vm_unet_shapes("smunet.", lambda prefix, channels: ss2d(prefix, channels, 2 * channels)))
    net, x = load(SliceMamba(2, 3, 1, strips=[[2, 4]], **SMALL), state), torch.randn(2, 4, 8, 8)
    s = part(state, "smunet.layers.0.blocks.0.self_attention.")

    def scan_map(u: Tensor, own: dict[str, Tensor]) -> Tensor:
        ways = equations.strips(4, 8, 2, 4)
        return torch.stack(equations.places_scan(u, own, ways)).sum(0).unflatten(2, (4, 8))

    mixed, gate = equations.ss2d(x, s, scan_map)
    expected = F.linear(mixed * gate, s["out_proj.weight"])
    torch.testing.assert_close(net.encoder.stages[0][0].mixer(x), expected, atol=1e-4, rtol=1e-4)
    assert net(torch.randn(1, 3, 30, 17)).shape == (1, 1, 30, 17)


def test_slice_mamba_takes_strips_block_by_block() -> None:
    net = SliceMamba(2, 3, 1, strips=[[2, 2], [2, 4], [4, 2], [4, 4]], **SMALL)
    stages = [net.encoder.stages[0], net.encoder.stages[1], net.bottom, net.decoder.stages[0]]
    names = [stage[0].mixer.order.name for stage in stages]
    pairs = [(2, 2), (2, 4), (4, 2), (4, 4)]
    assert names == [f"strips:{h},h+-strips:{h},h+strips:{w},w+-strips:{w},w" for h, w in pairs]
    with pytest.raises(ValueError, match=r"strips has the entry \[2\]"):
        SliceMamba(2, strips=[[2]])


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_mhs_vm(threshold: float) -> None:
    state = drawn(vm_unet_shapes("vmunet.", heads_shapes))
    doubled = {key.replace(".mambaeng.", ".scanning.seq2seq_engine."): value for key, value in state.items()}
    net = MHSVM(2, 3, 1, heads=4, threshold=threshold, **SMALL)
    net.load_state_dict(convert({**doubled, **state}, net), strict=True)
    x = torch.randn(2, 6, 6, 8)
    expected = equations.multi_head_mixer(x, part(state, "vmunet.layers.0.blocks.0.self_attention."), threshold)
    torch.testing.assert_close(net.encoder.stages[0][0].mixer(x), expected, atol=1e-4, rtol=1e-4)
