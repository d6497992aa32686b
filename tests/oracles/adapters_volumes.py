"""The constructor arguments of the authors of the 3D, slide and restoration networks, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from medmamba_monai.networks.nets import SegMamba

NAMES = ("segmamba",)


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our network of an oracle from the constructor arguments of its upstream class."""
    return {"segmamba": _segmamba}[name](ctor)


def _segmamba(ctor: Mapping[str, Any]) -> nn.Module:
    return SegMamba(
        3,
        ctor["in_chans"],
        ctor["out_chans"],
        ctor.get("feat_size", [48, 96, 192, 384]),
        ctor.get("depths", [2, 2, 2, 2]),
        ctor.get("hidden_size", 768),
        slices=[64, 32, 16, 8],
    )
