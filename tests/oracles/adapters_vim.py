"""The constructor arguments of the authors of LightM-UNet, LKM-UNet and Vim, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from medmamba_monai.networks.nets import LightMUNet, LKMUNet

NAMES = ("lightm_unet_3d", "lkm_unet_2d", "lkm_unet_3d")


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our network of an oracle from the constructor arguments of its upstream class."""
    if name.startswith("lkm"):
        return _lkm_unet(2 if name.endswith("2d") else 3, ctor)
    return {"lightm_unet_3d": _lightm_unet}[name](ctor)


def _lkm_unet(spatial_dims: int, ctor: Mapping[str, Any]) -> nn.Module:
    return LKMUNet(
        spatial_dims,
        ctor.get("input_channels", ctor.get("cin")),
        ctor.get("num_classes", ctor.get("ncls")),
        ctor["features_per_stage"],
        ctor["strides"],
        ctor["kernel_sizes"],
        ctor.get("n_conv_per_stage", ctor.get("nenc")),
        ctor.get("n_conv_per_stage_decoder", ctor.get("ndec")),
        design="released",
        deep_supervision=ctor.get("deep_supervision", ctor.get("ds", False)),
    )


def _lightm_unet(ctor: Mapping[str, Any]) -> nn.Module:
    return LightMUNet(
        ctor.get("spatial_dims", 3),
        ctor.get("in_channels", 1),
        ctor.get("out_channels", 2),
        ctor.get("init_filters", 8),
        ctor.get("blocks_down", [1, 2, 2, 4]),
        ctor.get("blocks_up", [1, 1, 1]),
    )
