"""How the authors of the hybrid U-Nets name their parameters, as rules for `convert`."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from medmamba_monai.networks.nets import HMTUNet, HVMUNet, Vim4Path, ViMUNet
from medmamba_monai.weights.vss_rules import LIGHT, Rules, apply

_RULES: dict[type[nn.Module], Rules] = {
    HMTUNet: (
        (r"^hmtunet\.", ""),
        (r"^patch_embed\.conv_down\.0\.", "encoder.patch_embed.conv1."),
        (r"^patch_embed\.conv_down\.1\.", "encoder.patch_embed.norm1."),
        (r"^patch_embed\.conv_down\.3\.", "encoder.patch_embed.conv2."),
        (r"^patch_embed\.conv_down\.4\.", "encoder.patch_embed.norm2."),
        (r"^levels\.(\d+)\.downsample\.reduction\.0\.", r"encoder.merges.\1.conv."),
        (r"^levels\.([01])\.blocks\.", r"encoder.stages.\1."),
        (r"^levels\.(\d+)\.blocks\.", r"encoder.stages.\1.blocks."),
        (r"^layers_up\.0\.", "bottom."),
        (r"^layers_up\.(\d+)\.blocks\.", lambda found: f"decoder.stages.{int(found[1]) - 1}.blocks."),
        (r"^layers_up\.(\d+)\.upsample\.", lambda found: f"decoder.expands.{int(found[1]) - 1}."),
        (r"^final_up\.", "head.expand."),
        (r"^final_conv\.", "head.conv."),
        (r"\.mixer\.conv1d_", ".mixer.conv_"),
        (r"(\.blocks\.\d+)\.norm1\.", r"\1.norm."),
    ),
    ViMUNet: (
        (r"^encoder\.layers\.(\d+)\.(mixer|norm)\.", r"encoder.\2s.\1."),
        (r"^encoder\.norm_f\.", "encoder.norm."),
        (r"^encoder\.patch_embed\.proj\.", "encoder.patch_embed."),
        (r"^base\.block\.", "decoder.base."),
        (r"^decoder\.blocks\.(\d)\.block\.", r"decoder.blocks.\1."),
        (r"^decoder\.samplers\.", "decoder.ups."),
        (r"^deconv_out\.", "decoder.ups.3."),
        (r"^decoder_head\.block\.", "decoder.blocks.3."),
        (r"^(decoder\.(?:base|blocks\.\d))\.4\.", r"\1.5."),
        (r"^deconv(\d)\.block\.0\.", lambda found: f"decoder.maps.{int(found[1]) - 1}.0."),
        (r"^deconv(\d)\.block\.1\.block\.", lambda found: f"decoder.maps.{int(found[1]) - 1}.1."),
        (r"^deconv(\d)\.block\.2\.", lambda found: f"decoder.maps.{int(found[1]) - 1}.3."),
        (r"^out_conv\.", "head."),
        (r"^(decoder\.(?:ups\.\d|maps\.\d\.0))\.block\.", r"\1.conv."),
    ),
    HVMUNet: (
        *LIGHT,
        (r"^(en|de)coder(\d)\.", lambda found: f"frame.{found[1]}coder.{int(found[2]) - 1}."),
        (r"^(frame\.(en|de)coder\.\d)\.0\.(weight|bias)$", r"\1.\3"),
        (r"\.norm1\.", ".norm."),
        (r"\.pwconv([12])\.", r".mlp.fc\1."),
        (r"\.H_SS2D\.dwconv\.dw\.", ".mixer.gates.conv."),
        (r"\.H_SS2D\.dwconv\.SS2D\.", ".mixer.gates.mixer."),
        (r"\.H_SS2D\.dwconv\.", ".mixer.gates."),
        (r"\.H_SS2D\.pws\.", ".mixer.widen."),
        (r"\.H_SS2D\.ss2d_in\.", ".mixer.scans.0."),
        (r"\.H_SS2D\.ss2d_(\d)\.", r".mixer.scans.\1."),
        (r"\.H_SS2D\.", ".mixer."),
        (r"\.conv2d\.", ".conv."),
    ),
}

_UNUSED: dict[type[nn.Module], str] = {
    HVMUNet: r"\.complex_weight$",
    ViMUNet: r"^encoder\.head\.",
    Vim4Path: r"^head\.",
}


def is_unused(network: nn.Module, key: str) -> bool:
    """Whether the authors' code holds this tensor without ever using it, and our network does not have it."""
    pattern = _UNUSED.get(type(network))
    return pattern is not None and re.search(pattern, key) is not None


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of this family, None for other networks."""
    rules = _RULES.get(type(network))
    return None if rules is None else lambda key: apply(rules, key)
