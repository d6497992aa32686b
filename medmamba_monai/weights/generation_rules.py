"""How the authors of networks that make images or train without labels name their parameters, for `convert`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from medmamba_monai.networks.blocks.translation import ChannelMixedBlock
from medmamba_monai.networks.nets import VMRNN, HyMamba, I2IMamba, MambaDFuse, MambaMIM, MDDose
from medmamba_monai.weights.vss_rules import Rules, apply

_RESIDUAL: Rules = (
    (r"\.conv_block\.1\.", ".conv1.conv."),
    (r"\.conv_block\.2\.", ".norm1."),
    (r"\.conv_block\.5\.", ".conv2.conv."),
    (r"\.conv_block\.6\.", ".norm2."),
)
# blocks of two convolutions: ours have one more step behind each convolution
_DOUBLE = {"0": "0", "1": "2", "3": "4", "4": "6"}
_HY_MAMBA: Rules = (
    (r"^sparse_encoder\.", ""),
    (r"^embeddings\.stem\.", "encoder.stem.conv."),
    (r"^embeddings\.expend(\d)\.", lambda found: f"encoder.widen.{int(found[1]) - 1}.conv."),
    (r"^embeddings\.encoder(\d)\.", lambda found: f"encoder.skips.{int(found[1]) - 1}."),
    (r"^embeddings\.layer(\d)\.(\d+)\.", lambda found: f"encoder.levels.{int(found[1]) - 2}.{found[2]}."),
    (r"^(encoder\.levels\.\d\.\d+)\.conv1\.", r"\1.depthwise.conv."),
    (r"^(encoder\.levels\.\d\.\d+)\.norm\.", r"\1.depthwise.norm."),
    (r"^(encoder\.levels\.\d\.\d+)\.conv2\.", r"\1.widen.conv."),
    (r"^(encoder\.levels\.\d\.\d+)\.conv3\.", r"\1.narrow.conv."),
    (r"^mae\.blocks\.(\d+)\.mlp\.", r"encoder.blocks.\1."),
    (r"^mae\.", "encoder."),
    (r"^decoder\.decoder1\.", "last."),
    (r"^(encoder\.skips\.\d|last)\.(conv|norm)1\.", r"\1.first.\2."),
    (r"^(encoder\.skips\.\d|last)\.(conv|norm)2\.", r"\1.second.\2."),
    (r"^last\.(conv|norm)3\.", r"last.shortcut.\1."),
    (r"^decoder\.decoder(\d)\.transp_conv\.conv\.", lambda found: f"ups.{5 - int(found[1])}.up."),
    (r"^decoder\.decoder(\d)\.conv_block\.", lambda found: f"ups.{5 - int(found[1])}.block."),
    (r"\.block\.conv([12])\.conv\.", r".block.conv\1."),
    (r"\.block\.conv3\.conv\.", ".block.shortcut.0."),
    (r"^decoder\.out\.conv\.", "head."),
)
_RULES: dict[type[nn.Module], Rules] = {
    I2IMamba: (
        (r"^encoder_1\.1\.", "encoder.0.conv."),
        (r"^encoder_1\.2\.", "encoder_norms.0."),
        (r"^encoder_([23])\.0\.", lambda found: f"encoder.{int(found[1]) - 1}."),
        (r"^encoder_([23])\.1\.", lambda found: f"encoder_norms.{int(found[1]) - 1}."),
        (r"^bottleneck_(\d+)\.", lambda found: f"bottleneck.{int(found[1]) - 1}."),
        (r"\.mamba_layer\.norm\.", ".mixer.norm."),
        (r"\.mamba_layer\.mamba([12])\.", lambda found: f".mixer.mixers.{int(found[1]) - 1}."),
        (r"\.mamba_layer\.conv1d\.", ".mixer.project."),
        (r"\.cc\.skip\.0\.", ".skip."),
        (r"\.cc\.skip\.1\.", ".skip_norm."),
        (r"\.cc\.block\.0\.", ".conv1."),
        (r"\.cc\.block\.1\.", ".norm1."),
        (r"\.cc\.block\.3\.", ".conv2."),
        (r"\.cc\.block\.4\.", ".norm2."),
        *_RESIDUAL,
        (r"^decoder_([12])\.0\.", lambda found: f"ups.{int(found[1]) - 1}."),
        (r"^decoder_([12])\.1\.", lambda found: f"up_norms.{int(found[1]) - 1}."),
        (r"^decoder_3\.1\.", "head.conv."),
    ),
    MambaDFuse: (
        (r"\.body\.", "."),
        (r"^low_level_feature_extraction(\d)\.", lambda found: f"stem.{int(found[1]) - 1}."),
        (r"^patch_embed\.norm\.", "norm."),
        (r"^high_level_feature_extraction(\d)\.(\d+)\.", lambda found: f"encoder.{int(found[1]) - 1}.{found[2]}."),
        (r"^feature_re\.", "reconstruction."),
        (r"^((?:encoder\.\d|reconstruction)\.\d+)\.norm\.", r"\1.0."),
        (r"^((?:encoder\.\d|reconstruction)\.\d+)\.encoder\.", r"\1.1."),
        (
            r"^channel_exchange(\d)\.I([12])encoder\.",
            lambda found: f"swaps.{int(found[2]) - 1}.{int(found[1]) - 1}.1.",
        ),
        (r"^channel_exchange(\d)\.norm([12])\.", lambda found: f"swaps.{int(found[2]) - 1}.{int(found[1]) - 1}.0."),
        (r"^shallow_fusion(\d)\.", lambda found: f"joins.{int(found[1]) - 1}."),
        (r"^M3_block(\d+)\.", lambda found: f"fusions.{int(found[1]) - 1}."),
        (r"\.multi_modal_mamba_block\.", ".mixer."),
        (r"\.norm(\d)\.", lambda found: f".norms.{int(found[1]) - 1}."),
        (r"\.dwconv\.", ".conv."),
        (r"^conv_last(\d)\.", lambda found: f"head.{int(found[1]) - 1}."),
    ),
    VMRNN: (
        (r"^(ST|Downsample)\.patch_embed\.", "patch_embed."),
        (r"^(ST|Downsample)\.layers\.", "encoder."),
        (r"^Downsample\.downsample\.", "merges."),
        (r"^Upsample\.layers\.", "decoder."),
        (r"^Upsample\.upsample\.", "expands."),
        (r"^(Upsample\.Unembed|ST\.patch_inflated)\.Conv\.", "inflate.last."),
        # of three steps each, the last without parameters; ours have one more behind the convolution
        (
            r"^ST\.patch_inflated\.Conv_\.(\d)\.",
            lambda found: f"inflate.doubles.{int(found[1]) // 3}.{2 * (int(found[1]) % 3)}.",
        ),
        (r"\.VSBs\.0\.", ".blocks.first."),
        (r"\.VSBs\.(\d+)\.", lambda found: f".blocks.others.{int(found[1]) - 1}."),
        (r"\.ln_1\.", ".norm."),
        (r"\.linear\.", ".join."),
        (r"\.self_attention\.", ".mixer."),
        (r"\.mixer\.conv2d\.", ".mixer.conv."),
    ),
    HyMamba: _HY_MAMBA,
    MambaMIM: (
        *_HY_MAMBA,
        (r"^A_interpolation$", "interpolation"),
        (r"^mask_tokens\.(\d)$", lambda found: f"fills.{int(found[1]) - 1}"),
        (r"^densify_projs\.", "projections."),
        (r"^dense_decoder\.dec\.(\d)\.up_sample\.", r"ups.\1."),
        (r"^dense_decoder\.dec\.(\d)\.conv\.(\d)\.", lambda found: f"doubles.{found[1]}.{_DOUBLE[found[2]]}."),
        (
            r"^dense_decoder\.fuse\.(\d)\.conv\.(\d)\.",
            lambda found: f"fuses.{int(found[1]) - 1}.{_DOUBLE[found[2]]}.",
        ),
        (r"^dense_decoder\.proj\.", "head."),
    ),
    MDDose: (
        (r"^head(\.|_struc\.)", lambda found: "stem." if found[1] == "." else "structure_stem."),
        (r"^output\.", "head."),
        (r"^time_embedding\.W$", "steps.frequencies"),
        (r"^e_(\d)_struc\.", lambda found: f"structure_encoder.{int(found[1]) - 1}."),
        (r"^e_(\d)\.", lambda found: f"encoder.{int(found[1]) - 1}."),
        (r"^d_(\d)\.", lambda found: f"decoder.{4 - int(found[1])}."),
        (r"^temb_proj_e(\d)\.", lambda found: f"encoder_steps.{int(found[1]) - 1}.project."),
        (r"^temb_proj_d(\d)\.", lambda found: f"decoder_steps.{4 - int(found[1])}.project."),
        (r"^up(\d)_\d\.body\.0\.", lambda found: f"ups.{4 - int(found[1])}.conv."),
        (r"^reduce_chan_level(\d)\.", lambda found: f"fuses.{3 - int(found[1])}."),
        (r"\.patch_embed\.proj\.", ".patch_embed."),
        (r"\.layers\.(\d+)\.mixer\.", r".mixers.\1."),
        (r"\.layers\.(\d+)\.norm\.", r".norms.\1."),
        (r"\.norm_f\.", ".norm."),
    ),
}
# A second direction that is never run, positions that are computed, layers of the highest resolution.
_HY_MAMBA_UNUSED = r"mae\.pos_embed$|mae\.blocks\.\d+\.mamba\.(A_b_log|D_b|(conv1d|x_proj|dt_proj)_b\.)"
_UNUSED: dict[type[nn.Module], str] = {
    I2IMamba: r"^transformer_encoder\.",
    VMRNN: r"^Upsample\.patch_embed\.|\.VSBs\.[1-9]\d*\.linear\.",
    HyMamba: _HY_MAMBA_UNUSED,
    MambaMIM: rf"{_HY_MAMBA_UNUSED}|embeddings\.encoder1\.|^dense_decoder\.fuse\.0\.",
    # a classifier's head and tables of angles in every stage
    MDDose: r"^[ed]_\d(_struc)?\.(head|rope)\.|^temb_proj_m\.",
}


def is_unused(network: nn.Module, key: str) -> bool:
    """Whether the authors' code holds this tensor without ever using it, and our network does not have it."""
    if isinstance(network, MambaMIM) and key.startswith(("mask_tokens.", "densify_projs.")):
        # those of the highest resolution, which the decoder does not read; the lowest one is filled by interpolation
        level = int(key.split(".")[1])
        return level == len(network.projections) or (level == 0 and key.startswith("mask_tokens."))
    pattern = _UNUSED.get(type(network))
    return pattern is not None and re.search(pattern, key) is not None


def reshape(network: nn.Module, key: str, value: Tensor) -> Tensor:
    """A tensor of the authors' code without the axes of length 1 that ours do not have."""
    if not isinstance(network, MambaMIM):
        return value
    if key.startswith(("fills.", "encoder.mask_token")):
        return value.flatten()
    return value[0] if key == "interpolation" and value.dim() == 3 else value


def speaks_of_others(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether names that ours has too mean other tensors: MD-Dose's authors call the first convolution "head"."""
    return isinstance(network, MDDose) and any(key.endswith("output.weight") for key in state)


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of these families, None for other networks."""
    rules = _RULES.get(type(network))
    if rules is None:
        return None
    if isinstance(network, I2IMamba):
        # the same names for blocks that are nothing else and for the last part of those that scan
        mixed = [str(i) for i, block in enumerate(network.bottleneck) if isinstance(block, ChannelMixedBlock)]
        rules = (
            *rules,
            (
                r"^bottleneck\.(\d+)\.residual_cnn\.0\.",
                lambda found: f"bottleneck.{found[1]}." + ("local." if found[1] in mixed else ""),
            ),
        )
    return lambda key: apply(rules, key)
