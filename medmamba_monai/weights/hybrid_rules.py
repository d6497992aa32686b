"""How the authors of the hybrid U-Nets name their parameters, as rules for `convert`."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from medmamba_monai.networks.nets import HMTUNet
from medmamba_monai.weights.vss_rules import Rules, apply

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
}

_UNUSED: dict[type[nn.Module], str] = {}


def is_unused(network: nn.Module, key: str) -> bool:
    """Whether the authors' code holds this tensor without ever using it, and our network does not have it."""
    pattern = _UNUSED.get(type(network))
    return pattern is not None and re.search(pattern, key) is not None


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of this family, None for other networks."""
    rules = _RULES.get(type(network))
    return None if rules is None else lambda key: apply(rules, key)
