"""How the authors of the plain and the light backbones name and shape their parameters, as rules for `convert`."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from medmamba_monai.networks.nets import (
    EfficientVMamba,
    LocalVim,
    LocalVMamba,
    MambaND,
    MicroscopicMamba,
    PlainMamba,
    Vim,
)
from medmamba_monai.weights.vss_rules import Rules, apply


def _with_clip(place: int) -> int:
    """The place in groups of four modules of one of the first two in groups of three."""
    return place // 3 * 4 + (0, 2)[place % 3]


_GATE: Rules = ((r"\.global_reduce\.", ".reduce."), (r"\.channel_select\.", ".select."))
_VMAMBA: Rules = (
    (r"^patch_embed\.0\.", "encoder.patch_embed.proj."),
    (r"^patch_embed\.2\.", "encoder.patch_embed.norm."),
    (r"^layers\.(\d+)\.blocks\.", r"encoder.stages.\1."),
    (r"^layers\.(\d+)\.downsample\.", r"encoder.merges.\1."),
    (r"\.op\.", ".mixer."),
    (r"\.mixer\.conv2d\.", ".mixer.conv."),
    (r"^classifier\.(norm|head)\.", r"\1."),
)
_RULES: dict[type[nn.Module], Rules] = {
    EfficientVMamba: (
        *_VMAMBA,
        (r"\.conv_branch\.0\.", ".conv1."),
        (r"\.conv_branch\.1\.", ".norm1."),
        (r"\.conv_branch\.3\.", ".conv2."),
        (r"\.se\.(norm|global_reduce|channel_select)\.", r".gate.\1."),
        *_GATE,
        (r"^layers\.(\d+)\.\d+\.(norm|reduction)\.", r"encoder.merges.\1.\2."),
        (r"^layers\.(\d+)\.(\d+)\.", lambda found: f"encoder.stages.{found[1]}.{int(found[2]) - 1}."),
        (r"\.conv_pw\.0\.", ".conv1."),
        (r"\.conv_pw\.1\.", ".norm1."),
        (r"\.conv_dw\.0\.", ".conv2."),
        (r"\.conv_dw\.1\.", ".norm2."),
        (r"\.conv_pw2\.0\.", ".conv3."),
        (r"\.conv_pw2\.1\.", ".norm3."),
        (r"\.se\.conv_reduce\.", ".reduce."),
        (r"\.se\.conv_expand\.", ".select."),
    ),
    LocalVMamba: (*_VMAMBA, (r"\.multi_scan\.attn\.", ".merge."), *_GATE),
    LocalVim: (
        (r"^layers\.(\d+)\.mixer\.", r"mixers.\1."),
        (r"^layers\.(\d+)\.norm\.", r"norms.\1."),
        (r"^norm_f\.", "norm."),
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"\.(conv1d|x_proj|dt_proj|A_log|D)_(\d+)", r".paths.\2.\1"),
        (r"\.attn\.", ".merge."),
        *_GATE,
    ),
    MambaND: (
        (r"^backbone\.", ""),
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"^pos_embed$", "patch_embed.positions"),
        (r"^layers\.(\d+)\.mixer\.", r"mixers.\1.cores.0."),
        (r"^layers\.(\d+)\.norm\.", r"norms.\1."),
        (r"^layers\.(\d+)\.down_sample_layer\.", r"merges.\1."),
        (r"^ln1\.", "norm."),
        (r"^ln2\.", "pooled_norm."),
        (r"^(cls_)?head\.(fc|fc_cls)\.", "head."),
    ),
    PlainMamba: (
        (r"^backbone\.", ""),
        (r"^patch_embed\.stem\.0\.", "stem.0."),
        (r"^patch_embed\.stem\.1\.", "stem.2."),
        # each of theirs: convolution, norm, ReLU; each of ours also a clip behind the convolution
        (r"^patch_embed\.convs\.(\d+)\.", lambda found: f"stem.{4 + _with_clip(int(found[1]))}."),
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"^pos_embed$", "patch_embed.positions"),
        (r"^layers\.(\d+)\.norm\.", r"norms.\1."),
        (r"^layers\.(\d+)\.dw\.", r"convs.\1."),
        (r"^layers\.(\d+)\.mamba\.", r"mixers.\1."),
        (r"\.conv2d\.", ".conv."),
        (r"\.direction_Bs$", ".moves"),
        (r"^ln1\.", "norm."),
        (r"^head\.fc\.", "head."),
    ),
    MicroscopicMamba: (
        (r"^patch_embed\.0\.c\.", "encoder.patch_embed.conv1."),
        (r"^patch_embed\.0\.bn\.", "encoder.patch_embed.norm1."),
        (r"^patch_embed\.2\.c\.", "encoder.patch_embed.conv2."),
        (r"^patch_embed\.2\.bn\.", "encoder.patch_embed.norm2."),
        (r"^layers\.(\d+)\.blocks\.", r"encoder.stages.\1."),
        (r"^layers\.(\d+)\.downsample\.", r"encoder.merges.\1."),
        (r"\.Conv_branch\.0\.", ".norm1."),
        (r"\.Conv_branch\.1\.", ".conv1."),
        (r"\.Conv_branch\.2\.", ".norm2."),
        (r"\.Conv_branch\.4\.", ".conv2."),
        (r"\.Conv_branch\.5\.", ".norm3."),
        (r"\.Conv_branch\.7\.", ".conv3."),
        (r"\.Conv_branch\.8\.", ".norm4."),
        (r"\.MIFA\.DWConv\.", ".gates.conv."),
        (r"\.MIFA\.attention\.conv\.weight", ".gates.weight"),
        (r"\.pvm_layer\.", ".scans."),
        (r"\.scans\.mamba\.PSFFN\.conv_0\.weight", ".scans.mixer.mixer.out_proj.weight"),
        (r"\.scans\.mamba\.PSFFN\.conv_0\.bias", ".scans.mixer.bias"),
        (r"\.scans\.mamba\.PSFFN\.conv_1\.", ".scans.mixer.conv."),
        (r"\.scans\.mamba\.conv2d\.", ".scans.mixer.mixer.conv."),
        (r"\.scans\.mamba\.", ".scans.mixer.mixer."),
    ),
}

# layers that are never called, and tables of the rotation, which are computed here when they are needed
_UNUSED: dict[type[nn.Module], str] = {
    MicroscopicMamba: r"\.pvm_layer\.(proj|mamba\.out_proj)\.",
    LocalVim: r"^rope\.freqs_",
    Vim: r"^rope\.freqs_",
}


def is_unused(network: nn.Module, key: str) -> bool:
    """Whether the authors' code holds this tensor without ever using it, and our network does not have it."""
    pattern = _UNUSED.get(type(network))
    return pattern is not None and re.search(pattern, key) is not None


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of this family, None for other networks."""
    rules = _RULES.get(type(network))
    return None if rules is None else lambda key: apply(rules, key)


def reshape(network: nn.Module, key: str, value: Tensor) -> Tensor:
    """A tensor of the authors' in the order of ours; the key is ours."""
    if isinstance(network, MambaND) and key.startswith("merges."):
        # theirs: channels, then rows, then columns of each square of four; ours: columns, rows, channels
        cells: Tensor = torch.unflatten(value, -1, (-1, 2, 2))
        axes = (*range(cells.dim() - 3), -1, -2, -3)
        return cells.permute(axes).flatten(-3)
    if isinstance(network, PlainMamba) and key.endswith(".moves"):
        # theirs: start, right, left, up, down; ours: ..., down, up
        return value[[0, 1, 2, 4, 3]]
    if isinstance(network, PlainMamba) and key.endswith(".dt_proj.bias"):
        # their code adds it in the projection and once more in the scan
        return 2 * value
    return value
