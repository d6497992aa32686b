"""How the authors of LightM-UNet, LKM-UNet and Vim name their parameters, as rules for `convert`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from medmamba_monai.networks.nets import LightMUNet
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
}


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of this family, None for other networks."""
    rules = _RULES.get(type(network))
    return None if rules is None else lambda key: apply(rules, key)
