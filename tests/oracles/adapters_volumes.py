"""The constructor arguments of the authors of the 3D, slide and restoration networks, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from medmamba_monai.networks.blocks.nn_mamba import SiameseMambaBlock
from medmamba_monai.networks.nets import NnMamba, NnMambaClassifier, SegMamba

NAMES = ("nnmamba_cls", "nnmamba_cls_b", "nnmamba_miccss_layer", "nnmamba_seg", "segmamba")


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our network of an oracle from the constructor arguments of its upstream class."""
    if name == "nnmamba_miccss_layer":
        return SiameseMambaBlock(3, ctor["dim"], ctor["d_state"])
    if name.startswith("nnmamba"):
        return _nnmamba(name, ctor)
    return {"segmamba": _segmamba}[name](ctor)


def _nnmamba(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    given = (3, ctor["in_ch"], ctor["number_classes"], ctor["channels"], ctor["blocks"])
    if name == "nnmamba_seg":
        return NnMamba(*given, head="released")
    return NnMambaClassifier(*given, siamese=False)


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
