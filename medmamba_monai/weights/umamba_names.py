"""Weights of U-Mamba under the names of the authors' code, so that it loads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["umamba_names"]


def umamba_names(state: Mapping[str, Tensor], variant: str) -> dict[str, Tensor]:
    """Rename a state dict of ``UMamba(design="released")``; modules that the authors register twice stand twice.

    Args:
        state: our state dict.
        variant: "bottleneck" or "encoder".

    Example:
        >>> import torch
        >>> sorted(umamba_names({"heads.0.bias": torch.zeros(2)}, "bottleneck"))
        ['decoder.seg_layers.0.bias']
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        for name in _names(key, variant):
            found[name] = value
            if name.startswith("encoder."):
                found[f"decoder.{name}"] = value
    return found


def _names(key: str, variant: str) -> list[str]:
    rules = (
        (r"^stem\.", "encoder.stem."),
        (r"^encoder\.(?=\d)", "encoder.stages."),
        (r"^mixers\.\d+\.", "mamba_layer." if variant == "bottleneck" else ""),
        (r"^mixers\.", "encoder.mamba_layers."),
        (r"^decoder\.(?=\d)", "decoder.stages."),
        (r"^up\.(\d+)\.", r"decoder.upsample_layers.\1.conv."),
        (r"^heads\.", "decoder.seg_layers."),
        (r"\.shortcut\.", ".conv3."),
    )
    for pattern, new in rules:
        if new:
            key = re.sub(pattern, new, key)
    # the first block of a stage names its layers plainly, the later ones hold pairs of layers
    later = re.match(r"^(.*\.[1-9]\d*)\.(conv|norm)([12])\.(weight|bias)$", key)
    if later is None or not re.match(r"^(encoder\.stem|(en|de)coder\.stages\.\d+)\.\d+$", later[1]):
        return [key]
    block, kind, number, ending = later.groups()
    place = 0 if kind == "conv" else 1
    return [f"{block}.conv{number}.{kind}.{ending}", f"{block}.conv{number}.all_modules.{place}.{ending}"]
