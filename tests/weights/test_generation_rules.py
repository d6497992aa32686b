"""State dicts with the names of the authors of networks that make images load strictly, each tensor in its place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medmamba_monai.networks.nets import VMRNN, HyMamba, I2IMamba, MambaDFuse, MambaMIM, MDDose
from medmamba_monai.weights import WeightsError, convert
from tests.networks.named_weights import Shapes, drawn, mamba_shapes, norm, projections, ss2d

Places = dict[str, str]


def conv(name: str, *shape: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": shape, **({f"{name}.bias": (shape[0],)} if bias else {})}


def mixer(prefix: str, dim: int) -> Shapes:
    return mamba_shapes(prefix, dim) | projections(prefix, dim)


def filled(net: nn.Module, shapes: Shapes, places: Places) -> None:
    """Convert random weights of these shapes, load them strictly and compare those whose places are given."""
    state = drawn(shapes)
    converted = convert(state, net)
    net.load_state_dict(converted, strict=True)
    for theirs, ours in places.items():
        assert torch.equal(converted[ours].flatten(), state[theirs].flatten()), theirs
    with pytest.raises(WeightsError, match="1 missing"):
        convert({key: value for key, value in state.items() if key != next(iter(places))}, net)
    again = convert(converted, net)
    assert all(torch.equal(again[key], value) for key, value in converted.items())


def residual_cnn(prefix: str) -> Shapes:
    shapes: Shapes = {}
    for place in (1, 5):
        shapes |= conv(f"{prefix}.residual_cnn.0.conv_block.{place}", 16, 16, 3, 3, bias=False)
        shapes |= norm(f"{prefix}.residual_cnn.0.conv_block.{place + 1}", 16, batch=True)
    return shapes


def test_i2i_mamba() -> None:
    shapes = conv("encoder_1.1", 4, 1, 7, 7, bias=False) | norm("encoder_1.2", 4, batch=True)
    for i, width in ((2, 8), (3, 16)):
        shapes |= conv(f"encoder_{i}.0", width, width // 2, 3, 3, bias=False) | norm(
            f"encoder_{i}.1", width, batch=True
        )
    for i in (1, 3):
        name = f"bottleneck_{i}"
        shapes |= norm(f"{name}.mamba_layer.norm", 16) | conv(f"{name}.mamba_layer.conv1d", 16, 32, 1, 1)
        shapes |= mixer(f"{name}.mamba_layer.mamba1.", 16) | mixer(f"{name}.mamba_layer.mamba2.", 16)
        shapes |= conv(f"{name}.cc.skip.0", 16, 32, 1, 1, bias=False) | norm(f"{name}.cc.skip.1", 16, batch=True)
        shapes |= conv(f"{name}.cc.block.0", 16, 32, 3, 3, bias=False) | norm(f"{name}.cc.block.1", 16, batch=True)
        shapes |= conv(f"{name}.cc.block.3", 16, 16, 3, 3, bias=False) | norm(f"{name}.cc.block.4", 16, batch=True)
        shapes |= residual_cnn(name)
    shapes |= residual_cnn("bottleneck_2") | norm("transformer_encoder.encoder_norm", 8)
    for i, width in ((1, 16), (2, 8)):
        shapes |= {f"decoder_{i}.0.weight": (2 * width, width // 2, 3, 3)} | norm(
            f"decoder_{i}.1", width // 2, batch=True
        )
    shapes |= conv("decoder_3.1", 1, 8, 7, 7)
    places = {
        "encoder_2.1.bias": "encoder_norms.1.bias",
        "bottleneck_1.mamba_layer.mamba2.D": "bottleneck.0.mixer.mixers.1.D",
        "bottleneck_3.cc.block.1.running_var": "bottleneck.2.norm1.running_var",
        "bottleneck_3.cc.block.4.running_var": "bottleneck.2.norm2.running_var",
        "bottleneck_3.cc.skip.1.running_var": "bottleneck.2.skip_norm.running_var",
        "bottleneck_1.residual_cnn.0.conv_block.5.weight": "bottleneck.0.local.conv2.conv.weight",
        "bottleneck_2.residual_cnn.0.conv_block.2.weight": "bottleneck.1.norm1.weight",
        "bottleneck_2.residual_cnn.0.conv_block.6.weight": "bottleneck.1.norm2.weight",
        "decoder_2.0.weight": "ups.1.weight",
    }
    filled(I2IMamba(2, channels=4, blocks=3, mamba_blocks=[0, 2]), shapes, places)


def test_mamba_dfuse() -> None:
    dim, shapes = 8, norm("patch_embed.norm", 8)
    shapes |= conv("low_level_feature_extraction1", 4, 1, 3, 3) | conv("low_level_feature_extraction2", 8, 4, 3, 3)
    for name in ("high_level_feature_extraction1", "high_level_feature_extraction2", "feature_re"):
        for i in range(2):
            shapes |= mixer(f"{name}.{i}.encoder.", dim) | norm(f"{name}.{i}.norm.body", dim)
    for i in (1, 2):
        for k in (1, 2):
            shapes |= mixer(f"channel_exchange{i}.I{k}encoder.", dim) | norm(f"channel_exchange{i}.norm{k}.body", dim)
        shapes |= conv(f"shallow_fusion{i}", dim, 2 * dim, 3, 3)
        block = f"M3_block{i}."
        for k in (1, 2, 3):
            shapes |= norm(f"{block}norm{k}.body", dim)
        shapes |= conv(f"{block}dwconv", dim, 1, 3, 3)
        block += "multi_modal_mamba_block."
        shapes |= mixer(block, dim) | {f"{block}A_b_log": (2 * dim, 16)}
        for k, suffix in enumerate(("_b", "_c")):
            own = mamba_shapes(block, dim, suffix=suffix)
            shapes |= {key: shape for key, shape in own.items() if "A_log" not in key}
            shapes |= {f"{block}in_proj_extra{k + 1}.weight": (4 * dim, dim)}
    shapes |= conv("conv_last1", 4, 8, 3, 3) | conv("conv_last2", 2, 4, 3, 3) | conv("conv_last3", 1, 2, 3, 3)
    places = {
        "high_level_feature_extraction2.1.encoder.D": "encoder.1.1.1.D",
        "feature_re.0.norm.body.weight": "reconstruction.0.0.weight",
        "channel_exchange2.I1encoder.D": "swaps.0.1.1.D",
        "channel_exchange1.norm2.body.bias": "swaps.1.0.0.bias",
        "M3_block2.norm3.body.bias": "fusions.1.norms.2.bias",
        "M3_block1.multi_modal_mamba_block.D_c": "fusions.0.mixer.D_c",
        "M3_block1.dwconv.bias": "fusions.0.conv.bias",
    }
    filled(MambaDFuse(2, 1, dim, 2, 2, 2, 2, design="released"), shapes, places)


def cell(prefix: str, dim: int, depth: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(depth):
        block = f"{prefix}.VSBs.{i}."
        shapes |= norm(f"{block}ln_1", dim) | ss2d(f"{block}self_attention.", dim, 2 * dim)
        shapes |= conv(f"{block}linear", dim, 2 * dim)
    return shapes


def test_vmrnn() -> None:
    shapes = conv("ST.patch_embed.proj", 16, 1, 8, 8) | norm("ST.patch_embed.norm", 16)
    shapes |= cell("ST.layers.0", 16, 2) | {"ST.patch_inflated.Conv.weight": (16, 1, 3, 3)}
    shapes |= {"ST.patch_inflated.Conv.bias": (1,)}
    for i in (0, 3):
        shapes |= conv(f"ST.patch_inflated.Conv_.{i}", 16, 16, 3, 3) | norm(f"ST.patch_inflated.Conv_.{i + 1}", 16)
    places = {
        "ST.layers.0.VSBs.1.ln_1.bias": "encoder.0.blocks.others.0.norm.bias",
        "ST.layers.0.VSBs.0.linear.weight": "encoder.0.blocks.first.join.weight",
        "ST.patch_inflated.Conv_.4.bias": "inflate.doubles.1.2.bias",
    }
    filled(VMRNN(3, 1, patch_size=8, dim=16, depths=[2]), shapes, places)

    shapes = {}
    for way in ("Downsample", "Upsample"):
        shapes |= conv(f"{way}.patch_embed.proj", 8, 1, 2, 2) | norm(f"{way}.patch_embed.norm", 8)
    shapes |= cell("Downsample.layers.0", 8, 1) | cell("Downsample.layers.1", 16, 2)
    shapes |= cell("Upsample.layers.0", 32, 2) | cell("Upsample.layers.1", 16, 1)
    for i, dim in enumerate((8, 16)):
        shapes |= norm(f"Downsample.downsample.{i}.norm", 4 * dim)
        shapes |= {f"Downsample.downsample.{i}.reduction.weight": (2 * dim, 4 * dim)}
        shapes |= norm(f"Upsample.upsample.{1 - i}.norm", dim)
        shapes |= {f"Upsample.upsample.{1 - i}.expand.weight": (4 * dim, 2 * dim)}
    shapes |= {"Upsample.Unembed.Conv.weight": (8, 1, 3, 3), "Upsample.Unembed.Conv.bias": (1,)}
    places = {
        "Upsample.layers.0.VSBs.1.self_attention.Ds": "decoder.0.blocks.others.0.mixer.Ds",
        "Downsample.layers.1.VSBs.0.self_attention.conv2d.bias": "encoder.1.blocks.first.mixer.conv.bias",
        "Downsample.patch_embed.norm.bias": "patch_embed.norm.bias",
        "Upsample.upsample.1.norm.bias": "expands.1.norm.bias",
    }
    filled(VMRNN(3, 1, design="deep", dim=8, depths=[1, 2]), shapes, places)


def hy_mamba_encoder(prefix: str, channels: list[int], masked: bool) -> Shapes:
    """The encoder with two levels below the first one, depths 1 and 1, ratios 2 and 2."""
    first, shapes = f"{prefix}embeddings.", conv(f"{prefix}embeddings.stem", channels[0], 1, 3, 3, 3)
    for i, (a, b) in enumerate(zip(channels, channels[1:], strict=False)):
        shapes |= conv(f"{first}expend{i + 1}", b, a, 3, 3, 3)
        for k in (1, 2):
            shapes |= conv(f"{first}encoder{i + 1}.conv{k}", b, b, 3, 3, 3) | norm(f"{first}encoder{i + 1}.norm{k}", b)
        level = f"{first}layer{i + 2}.0."
        shapes |= conv(f"{level}conv1", b, 1, 3, 3, 3) | norm(f"{level}norm", b)
        shapes |= conv(f"{level}conv2", 2 * b, b, 1, 1, 1) | conv(f"{level}conv3", b, 2 * b, 1, 1, 1)
    dim, block = channels[-1], f"{prefix}mae.blocks.0."
    shapes |= {f"{prefix}mae.pos_embed": (1, 8, dim)} | ({f"{prefix}mae.mask_token": (1, 1, dim)} if masked else {})
    shapes |= norm(f"{block}norm1", dim) | norm(f"{block}norm2", dim) | mixer(f"{block}mamba.", dim)
    shapes |= {
        key: shape for key, shape in mamba_shapes(f"{block}mamba.", dim, suffix="_b").items() if "A_log" not in key
    }
    shapes |= {f"{block}mamba.A_b_log": (2 * dim, 16)}
    return shapes | conv(f"{block}mlp.fc1", 2 * dim, dim) | conv(f"{block}mlp.fc2", dim, 2 * dim)


SMALL = {"channels": [4, 6, 12], "depths": [1, 1], "ratios": [2, 2], "mamba_depth": 1}


def test_hy_mamba() -> None:
    shapes = hy_mamba_encoder("", [4, 6, 12], False)
    for i, (below, width) in ((5, (12, 12)), (4, (12, 6))):
        name = f"decoder.decoder{i}."
        shapes |= {f"{name}transp_conv.conv.weight": (below, width, 2, 2, 2)}
        shapes |= conv(f"{name}conv_block.conv1.conv", width, 2 * width, 3, 3, 3, bias=False)
        shapes |= conv(f"{name}conv_block.conv2.conv", width, width, 3, 3, 3, bias=False)
        shapes |= conv(f"{name}conv_block.conv3.conv", width, 2 * width, 1, 1, 1, bias=False)
    shapes |= conv("decoder.decoder1.conv1", 4, 6, 3, 3, 3) | conv("decoder.decoder1.conv2", 4, 4, 3, 3, 3)
    shapes |= conv("decoder.decoder1.conv3", 4, 6, 1, 1, 1)
    for k in (1, 2, 3):
        shapes |= norm(f"decoder.decoder1.norm{k}", 4)
    shapes |= conv("decoder.out.conv", 2, 4, 1, 1, 1)
    places = {
        "embeddings.encoder2.norm2.bias": "encoder.skips.1.second.norm.bias",
        "embeddings.layer3.0.norm.bias": "encoder.levels.1.0.depthwise.norm.bias",
        "embeddings.layer2.0.conv2.bias": "encoder.levels.0.0.widen.conv.bias",
        "mae.blocks.0.norm2.bias": "encoder.blocks.0.norm2.bias",
        "mae.blocks.0.mlp.fc1.bias": "encoder.blocks.0.fc1.bias",
        "decoder.decoder4.conv_block.conv3.conv.weight": "ups.1.block.shortcut.0.weight",
        "decoder.decoder1.norm3.bias": "last.shortcut.norm.bias",
    }
    filled(HyMamba(3, 1, 2, **SMALL), shapes, places)


def test_mamba_mim() -> None:
    shapes = hy_mamba_encoder("sparse_encoder.", [4, 6, 12], True)
    shapes |= {"A_interpolation": (1, 12, 12)}
    # the map behind the transformer, then those of the levels from the lowest resolution up
    for i, width in enumerate((12, 12, 6)):
        shapes |= {f"mask_tokens.{i}": (1, width, 1, 1, 1)}
        side = 3 if i else 1
        shapes |= conv(f"densify_projs.{i}", 16 // 2**i, width, side, side, side)
    for i, width in enumerate((16, 8)):
        name = f"dense_decoder.dec.{i}."
        shapes |= conv(f"{name}up_sample", width, width, 2, 2, 2)
        for block, a, b in ((f"{name}conv", width, width // 2), (f"dense_decoder.fuse.{i}.conv", 2 * width, width)):
            shapes |= conv(f"{block}.0", b, a, 3, 3, 3) | norm(f"{block}.1", b, batch=True)
            shapes |= conv(f"{block}.3", b, b, 3, 3, 3) | norm(f"{block}.4", b, batch=True)
    shapes |= conv("dense_decoder.proj", 1, 4, 1, 1, 1)
    places = {
        "mask_tokens.1": "fills.0",
        "A_interpolation": "interpolation",
        "sparse_encoder.mae.mask_token": "encoder.mask_token",
        "densify_projs.1.bias": "projections.1.bias",
        "dense_decoder.fuse.1.conv.4.running_var": "fuses.0.6.running_var",
        "dense_decoder.dec.1.conv.1.running_mean": "doubles.1.2.running_mean",
    }
    filled(MambaMIM(3, 1, decoder_dim=16, **SMALL), shapes, places)


def vim(prefix: str, in_channels: int, dim: int, side: int, grid: int) -> Shapes:
    shapes = conv(f"{prefix}.patch_embed.proj", dim, in_channels, side, side) | conv(f"{prefix}.head", 1000, dim)
    shapes |= {f"{prefix}.pos_embed": (1, grid**2, dim), f"{prefix}.norm_f.weight": (dim,)}
    shapes |= {f"{prefix}.rope.freqs_cos": (grid**2, dim), f"{prefix}.layers.0.norm.weight": (dim,)}
    name = f"{prefix}.layers.0.mixer."
    second = mamba_shapes(name, dim, suffix="_b")
    shapes |= mixer(name, dim) | {key.replace("A_log_b", "A_b_log"): shape for key, shape in second.items()}
    return shapes


def test_md_dose() -> None:
    shapes = conv("head", 4, 1, 3, 3) | conv("head_struc", 4, 2, 3, 3) | conv("output", 1, 8, 3, 3, bias=False)
    shapes |= {"time_embedding.W": (8,)} | conv("temb_proj_m.1", 64, 16)
    for level, (dim, size) in enumerate(zip((8, 16, 32, 64), (8, 4, 2, 1), strict=True)):
        for name in (f"e_{level + 1}", f"e_{level + 1}_struc"):
            shapes |= vim(name, dim // 2, dim, 2, size)
        upper = max(dim // 2, 8)
        shapes |= vim(f"d_{level + 1}", upper, upper, 1, 2 * size)
        shapes |= conv(f"temb_proj_e{level + 1}.1", dim, 16) | conv(f"temb_proj_d{level + 1}.1", upper, 16)
        shapes |= conv(f"up{level + 1}_{level}.body.0", 2 * dim, dim, 3, 3, bias=False)
        if level < 3:
            shapes |= conv(f"reduce_chan_level{level + 1}", dim, 2 * dim, 1, 1, bias=False)
    places = {
        "head.weight": "stem.weight",
        "head_struc.bias": "structure_stem.bias",
        "output.weight": "head.weight",
        "e_3.layers.0.mixer.A_b_log": "encoder.2.mixers.0.A_b_log",
        "e_3_struc.norm_f.weight": "structure_encoder.2.norm.weight",
        "d_4.pos_embed": "decoder.0.pos_embed",
        "temb_proj_d1.1.bias": "decoder_steps.3.project.1.bias",
        "reduce_chan_level3.weight": "fuses.0.weight",
        "up2_1.body.0.weight": "ups.2.conv.weight",
    }
    net = MDDose(2, 1, 1, 2, 16, 8, [1] * 4, [1] * 4, drop_path_rate=0.0)
    filled(net, shapes, places)


def test_names_of_both_codes_are_told_apart() -> None:
    net = MDDose(2, 1, 1, 0, 8, 8, [1], [1])
    own: dict[str, Tensor] = net.state_dict()
    assert torch.equal(convert(own, net)["head.weight"], own["head.weight"])
