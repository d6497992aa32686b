"""How the authors of LightM-UNet, LKM-UNet and Vim name their parameters, as rules for `convert`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from medmamba_monai.networks.nets import LightMUNet, LKMUNet, Vim, Vim4Path
from medmamba_monai.weights.vss_rules import Rules, apply

_RULES: dict[type[nn.Module], Rules] = {
    LightMUNet: (
        (r"^convInit\.", "stem."),
        (r"^down_layers\.(\d+)\.0\.0\.", lambda found: f"downs.{int(found[1]) - 1}."),
        (r"^down_layers\.(\d+)\.(\d+)\.", lambda found: f"encoder.{found[1]}.{int(found[2]) - 1}."),
        (r"^(encoder\.\d+\.\d+)\.conv([12])\.", r"\1.mixer\2."),
        (r"^up_samples\.(\d+)\.0\.conv\.", r"ups.\1."),
        (r"^up_layers\.(\d+)\.(\d+)\.conv\.(\d)\.", r"decoder.\1.\2.conv.\3."),
        (r"^up_layers\.", "decoder."),
        (r"^conv_final\.0\.", "norm."),
        (r"^conv_final\.2\.", "head."),
        (r"\b0\.conv\.(weight|bias)$", r"depthwise.\1"),
        (r"\b1\.conv\.(weight|bias)$", r"pointwise.\1"),
    ),
    LKMUNet: (
        (r"^decoder\.encoder\.", "encoder."),
        (r"\.all_modules\.0\.", ".conv."),
        (r"\.all_modules\.1\.", ".norm."),
        (r"\.skip\.(\d)\.conv\.", r".shortcut.\1."),
        (r"\.skip\.(\d)\.norm\.", lambda found: f".shortcut.{int(found[1]) + 2}."),
        (r"^encoder\.stem\.convs\.0\.conv\.", "stem.0."),
        (r"^encoder\.stem\.convs\.0\.norm\.", "stem.2."),
        (r"\.blocks\.(\d+)\.conv([12])\.(conv|norm)\.", r".\1.\3\2."),
        (r"\.blocks\.", "."),
        (r"^encoder\.stages\.", "encoder."),
        (r"^encoder\.mamba_layers\.(\d+)\.", r"mixers.\1.pixel."),
        (r"^encoder\.w_mamba_layers\.(\d+)\.", r"mixers.\1.patch."),
        (r"\.mamba_forw\.", ".forwards."),
        (r"\.mamba_backw\.", ".backwards."),
        (r"^decoder\.stages\.", "decoder."),
        (r"^decoder\.transpconvs\.", "up."),
        (r"^decoder\.seg_layers\.", "heads."),
    ),
    Vim: (
        (r"^layers\.(\d+)\.mixer\.", r"mixers.\1."),
        (r"^layers\.(\d+)\.norm\.", r"norms.\1."),
        (r"^norm_f\.", "norm."),
        (r"^patch_embed\.proj\.", "patch_embed."),
    ),
}
_RULES[Vim4Path] = _RULES[Vim]


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of this family, None for other networks."""
    rules = _RULES.get(type(network))
    return None if rules is None else lambda key: apply(rules, key)
