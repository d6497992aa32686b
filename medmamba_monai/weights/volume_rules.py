"""How the authors of the 3D, restoration, registration and slide networks name their parameters, for `convert`."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from medmamba_monai.networks.blocks.nn_mamba import SiameseMambaBlock
from medmamba_monai.networks.layers.directed_mamba2 import DirectedMamba2
from medmamba_monai.networks.nets import (
    S4MIL,
    FusionMamba,
    GATMamba,
    MambaIR,
    MambaIRUNet,
    MambaMIL,
    MambaMorph,
    MambaRecon,
    MamMIL,
    NnMamba,
    NnMambaClassifier,
    SegMamba,
    TMamba,
    Vivim,
    VMambaMorph,
)
from medmamba_monai.weights.restoration_rules import UNET, head_rules
from medmamba_monai.weights.vss_rules import Rules, apply

_NNMAMBA: Rules = (
    (r"^in_conv\.", "stem."),
    (r"^layer(\d)\.", lambda found: f"layers.{int(found[1]) - 1}."),
    (r"^layers\.(\d)\.\d+\.mamba_layer\.", r"layers.\1.mixer."),
    (r"^layers\.(\d)\.0\.", r"layers.\1.first."),
    (r"^layers\.(\d)\.(\d+)\.", lambda found: f"layers.{found[1]}.others.{int(found[2]) - 1}."),
    (r"^mamba_layer_stem\.", "mixer."),
    (r"mixer\.nin\.", "mixer.conv1."),
    (r"mixer\.nin2\.", "mixer.conv2."),
    (r"mixer\.norm\.", "mixer.norm1."),
    (r"\.bn([12])\.", r".norm\1."),
    (r"\.downsample\.0\.", ".shortcut.0."),
    (r"\.downsample\.1\.", ".shortcut.2."),
    (r"^att(\d)\.layer([12])\.", lambda found: f"scales.{int(found[1]) - 1}.fc{found[2]}."),
    (r"^conv8\.", "head."),
    (r"^conv([567])\.", lambda found: f"fuses.{int(found[1]) - 5}."),
    # each convolution is followed by a step that the authors do not have
    (r"\.conv\.([0134])\.", lambda found: f".{ {'0': 0, '1': 2, '3': 4, '4': 6}[found[1]] }."),
    (r"^mlp\.", "head."),
)
_BAG: Rules = (
    (r"^(_fc1|ft_head)\.", "project."),
    (r"^layers\.(\d+)\.0\.", r"norms.\1."),
    (r"^layers\.(\d+)\.1\.", r"mixers.\1."),
    (r"^s4_block\.0\.", "norm."),
    (r"^s4_block\.1\.", "mixer."),
    (r"^attention\.", "pool.score."),
    (r"^classifier\.", "head."),
)
_MORPH: Rules = (
    (r"^feature_extractor\.(encoder|decoder)\.(\d)\.0\.main\.", r"features.\1.\2."),
    (r"^feature_extractor\.remaining\.(\d)\.main\.", r"features.last.\1."),
    (r"^read_out_head\.(\d)\.main\.", r"read_out.\1."),
    (r"^transformer\.patch_embed\.", "encoder.patch_embed."),
    (r"^transformer\.layers\.(\d)\.downsample\.", r"encoder.merges.\1."),
    (r"^transformer\.norm(\d)\.", r"encoder.norms.\1."),
    (r"^up(\d)\.conv(\d)\.0\.", lambda found: f"decoder.ups.{int(found[1]) - 1}.{int(found[2]) - 1}.0."),
    (r"^c1\.0\.", "decoder.skip_half.0."),
    (r"^c2\.0\.", "decoder.skip_full.0."),
    (r"^reg_head\.0\.", "head."),
)
_RESTORE: Rules = (
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.", ".mixer."),
    (r"\.mixer\.conv2d\.", ".mixer.conv."),
    (r"\.skip_scale$", ".scale1"),
    (r"\.skip_scale2$", ".scale2"),
    (r"\.conv_blk\.cab\.\d\.attention\.1\.", ".conv.fc1."),
    (r"\.conv_blk\.cab\.\d\.attention\.3\.", ".conv.fc2."),
)
_DIRECTED: Rules = (
    (r"\b(conv1d|dt_bias|A_log|D)_list\.(\d)\b", r"directions.\2.\1"),
    # the authors' layer with one order and two directions
    (r"^conv1d_b\.", "directions.1.conv1d."),
    (r"^(A_log|D)_b$", r"directions.1.\1"),
    (r"^dt_b_bias$", "directions.1.dt_bias"),
    (r"^(conv1d\.|dt_bias$|A_log$|D$)", r"directions.0.\1"),
)
_RULES: dict[type[nn.Module], Rules] = {
    SiameseMambaBlock: ((r"^nin\.", "conv1."), (r"^nin2\.", "conv2."), (r"^norm\.", "norm1.")),
    MambaIR: (
        (r"^layers\.(\d+)\.residual_group\.blocks\.", r"groups.\1."),
        (r"^layers\.(\d+)\.conv\.", r"convs.\1."),
        *_RESTORE,
        (r"^patch_embed\.norm\.", "norm_first."),
        (r"^conv_after_body\.", "conv_body."),
    ),
    MambaIRUNet: (
        *_RESTORE,
        (r"\.conv_blk\.cab\.0\.", ".conv.first.0."),
        (r"\.conv_blk\.cab\.2\.", ".conv.second.0."),
        *UNET,
    ),
    TMamba: (
        (r"^net\.", ""),
        (r"^unregistered_pos\.", "positions."),
        (r"^unregistered_spectral\.", "spectra."),
        (r"^dfs_blocks\.(\d)\.downsample\.", r"stages.\1.down."),
        (r"^dfs_blocks\.(\d)\.skip\.", r"stages.\1.skip."),
        (r"^dfs_blocks\.(\d)\.dfs\.units\.", r"stages.\1.units."),
        (r"^dfs_blocks\.(\d)\.dfs\.Vim_Block\.", r"stages.\1.blocks."),
        (r"^out_conv\.", "last."),
        (r"\.conv\.0\.|^(last)\.conv\.0\.", lambda found: f"{found[1] or ''}.norm."),
        (r"\.conv\.3\.", ".conv."),
    ),
    MambaRecon: (
        (r"^patch_embed\.", "embeds.0."),
        (r"^layers\.(\d+)\.blocks\.", lambda found: f"stages.{int(found[1]) // 2}."),
        (r"^layers\.(\d+)\.patch_embed\.", lambda found: f"embeds.{int(found[1]) // 2 + 1}."),
        (r"^layers\.(\d+)\.unpatchify\.layer\.", lambda found: f"unpatchify.{int(found[1]) // 2}.linear."),
        (r"\.ln_1\.", ".norm."),
        (r"\.self_attention\.", ".mixer."),
        (r"\.mixer\.conv2d\.", ".mixer.conv."),
    ),
    FusionMamba: (
        (r"^patch_embed([12])\.", lambda found: f"embeds.{int(found[1]) - 1}."),
        (r"^layers\.(\d)\.blocks\.", r"encoder.\1."),
        (r"^layers\.(\d)\.downsample\.", r"merges.\1."),
        (r"^layers_up\.(\d)\.blocks\.", r"decoder.\1."),
        (r"^layers_up\.(\d)\.upsample\.", lambda found: f"expands.{int(found[1]) - 1}."),
        (r"^Cross_block\.(\d)\.", lambda found: f"crosses.{int(found[1]) - 1}."),
        (r"\.Cross_layer\.texture_enhance([12])\.", r".conv\1."),
        (r"\.ln_([12])\.", r".norm\1."),
        (r"^((?:en|de)coder\.\d\.\d+)\.norm\.", r"\1.norm1."),
        (r"\.self_attention_cross_(channel|spatial)\.", ".weigh."),
        (r"\.(op|self_attention_cross)\.", ".mixer."),
        (r"\.mixer\.conv2d\.", ".mixer.conv."),
        (r"\.mixer\.in_proj1\.", ".mixer.in_proj."),
        (r"\.conv_branch\.", ".conv."),
        (r"\.learnable_mask$", ".share"),
        (r"\.learnable_theta$", ".theta"),
        (r"\.se\.norm\.", ".select.norm."),
        (r"\.se\.global_reduce\.", ".select.fc1."),
        (r"\.se\.channel_select\.", ".select.fc2."),
        (r"^final_up\.", "head.expand."),
        (r"^final_conv\.", "head.conv."),
    ),
    GATMamba: (
        (r"^uni_feature_linear_transform\.", "project."),
        (r"^layers\.(\d+)\.self_attn\.", r"blocks.\1.mamba."),
        (r"^layers\.", "blocks."),
        (r"\.norm([123])\.module\.", r".norm\1."),
        (r"^mlp\.", "head."),
    ),
    MambaMorph: (*_MORPH, (r"^transformer\.layers\.(\d)\.(norm|mamba)\.", r"encoder.mixers.\1.block.\2.")),
    VMambaMorph: (
        *_MORPH,
        (r"^transformer\.layers\.(\d)\.norm\.", r"encoder.mixers.\1.norm."),
        (r"^transformer\.layers\.(\d)\.mamba\.", r"encoder.mixers.\1.blocks."),
        (r"\.ln_1\.", ".norm."),
        (r"\.self_attention\.", ".mixer."),
        (r"\.mixer\.conv3d\.", ".mixer.conv."),
    ),
    MambaMIL: _BAG,
    S4MIL: _BAG,
    MamMIL: (
        *_BAG,
        *_DIRECTED,
        (r"^ppeg\.(\d+)\.conv\.aggr_module\.t$", r"convs.\1.t"),
        (r"^ppeg\.(\d+)\.conv\.mlp\.0\.", r"convs.\1.fc1."),
        (r"^ppeg\.(\d+)\.conv\.mlp\.1\.", r"convs.\1.norm1."),
        (r"^ppeg\.(\d+)\.conv\.mlp\.4\.", r"convs.\1.fc2."),
        (r"^ppeg\.(\d+)\.norm\.", r"convs.\1.norm2."),
    ),
    DirectedMamba2: _DIRECTED,
    NnMamba: _NNMAMBA,
    NnMambaClassifier: _NNMAMBA,
    Vivim: (
        (r"^encoder\.downsample_layers\.patch_embeddings\.(\d)\.proj\.", r"patches.\1."),
        (r"^encoder\.downsample_layers\.patch_embeddings\.(\d)\.layer_norm\.", r"patch_norms.\1."),
        (r"^encoder\.downsample_layers\.block\.", "blocks."),
        (r"\.layer_norm_([12])\.", r".norm\1."),
        (r"\.attention\.self\.sr\.", ".attention.shrink."),
        (r"\.attention\.self\.layer_norm\.", ".attention.norm."),
        (r"\.attention\.self\.", ".attention."),
        (r"\.attention\.output\.dense\.", ".attention.proj."),
        (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
        (r"\.dwconv\.dwconv\.", ".conv."),
        (r"^encoder\.stages\.(\d)\.(\d+)\.0\.", r"mixers.\1.\2."),
        (r"^(mixers\.\d\.\d+)\.norm1\.", r"\1.mix.norm."),
        (r"^(mixers\.\d\.\d+)\.mamba\.", r"\1.mix.mamba."),
        (r"^(mixers\.\d\.\d+)\.norm2\.", r"\1.norm."),
        (r"^decoder\.linear_c\.(\d)\.proj\.", r"decoder.linears.\1."),
        (r"^decoder\.linear_fuse\.", "decoder.fuse."),
        (r"^decoder\.batch_norm\.", "decoder.norm."),
        (r"^out\.", "head."),
        (r"^edgeocr_cls_head\.", "edge_head."),
    ),
    SegMamba: (
        (r"^vit\.downsample_layers\.0\.0\.", "stem."),
        (r"^vit\.downsample_layers\.(\d)\.1\.", lambda found: f"downs.{int(found[1]) - 1}."),
        (r"^vit\.gscs\.(\d)\.(proj\d?)\.", r"stages.\1.0.\2."),
        (r"^vit\.stages\.(\d)\.(\d+)\.", lambda found: f"stages.{found[1]}.{int(found[2]) + 1}."),
        (r"^vit\.mlps\.", "mlps."),
        (r"^encoder(\d)\.layer\.", lambda found: f"skips.{int(found[1]) - 1}."),
        (r"^decoder1\.layer\.", "last."),
        (r"^decoder(\d)\.transp_conv\.conv\.", lambda found: f"ups.{5 - int(found[1])}.up."),
        (r"^decoder(\d)\.conv_block\.", lambda found: f"ups.{5 - int(found[1])}.block."),
        (r"\.conv([12])\.conv\.", r".conv\1."),
        (r"\.conv3\.conv\.", ".shortcut.0."),
        (r"^out\.conv\.conv\.", "head."),
    ),
}
# coordinates of the voxels of one size
_GRIDS = r"(spatial_trans|integrate\.transformer)\.grid$"
# Tensors that the authors' code holds without ever using them: none of ours correspond to them.
_UNUSED: dict[type[nn.Module], str] = {
    MambaMorph: _GRIDS,
    VMambaMorph: _GRIDS,
    # the last layer under two other names, and features of edges
    GATMamba: r"(conv_gat|layer|edge_embedding|edge_linear_transform)\.",
    MambaRecon: r"last_dc\.patch_embed\.",
    FusionMamba: r"Cross_block\.0\.|.*\.Diff_enhance\.|.*\.base_mask$",
    Vivim: r"encoder\.downsample_layers\.layer_norm\.|decoder\.classifier\.",
}


def is_unused(network: nn.Module, key: str) -> bool:
    """Whether the authors' code holds this tensor without ever using it, and our network does not have it."""
    if isinstance(network, MamMIL):
        # the authors' code never runs its last layer
        return key.startswith(f"layers.{len(network.mixers)}.")
    if isinstance(network, VMambaMorph) and network.released:
        block = re.match(r"transformer\.layers\.(\d)\.mamba\.(\d+)\.", key)
        if block and int(block[2]) < network.depths[int(block[1])] - 1:
            # every block gets the same input, and only the last one's result is kept
            return True
    if isinstance(network, TMamba):
        # with tables of the spectrum its convolution is idle
        return ".gate_mapping." in key or (".fft_conv." in key and bool(network.grids))
    pattern = _UNUSED.get(type(network))
    return pattern is not None and re.match(pattern, key) is not None


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of these families, None for other networks."""
    rules = _RULES.get(type(network))
    if rules is None:
        return None
    if isinstance(network, VMambaMorph) and network.released:
        rules = (*rules, (r"\.blocks\.\d+\.", ".blocks.0."))
    if isinstance(network, MambaRecon):
        rules = ((r"^last_dc\.unpatchify\.layer\.", f"unpatchify.{len(network.stages)}.linear."), *rules)
    if isinstance(network, MambaIR):
        rules = (*rules, *_restoration_rules(network))
    return lambda key: apply(rules, key)


def _restoration_rules(network: MambaIR) -> Rules:
    """MambaIR's names that depend on its kind of blocks and its upsampler."""
    light = any(".conv.first.1." in key for key in network.state_dict())
    numbers = (
        {"0": "first.0", "1": "first.1", "3": "second.0", "4": "second.1"}
        if light
        else {
            "0": "first.0",
            "2": "second.0",
        }
    )
    blocks = (r"\.conv_blk\.cab\.(\d)\.", lambda found: f".conv.{numbers[found[1]]}.")
    return (blocks, *head_rules(network.head))
