"""The constructor arguments of the authors of LightM-UNet, LKM-UNet and Vim, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from medmamba_monai.networks.layers.vim import VimMamba
from medmamba_monai.networks.nets import LightMUNet, LKMUNet, Vim

_VIM = (
    "vim", "vim_bidirectional_layers", "vim_bimamba_block", "vim_bimamba_block_v1", "vim_rope_bimambav1_meanpool"
)  # fmt: skip
NAMES = ("lightm_unet_3d", "lkm_unet_2d", "lkm_unet_3d", *_VIM)


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our network of an oracle from the constructor arguments of its upstream class."""
    if name.startswith("vim_bimamba_block"):
        shared = ctor["bimamba_type"] == "v1"
        return VimMamba(ctor["d_model"], ctor["d_state"], share=shared, mean=ctor.get("if_divide_out", False))
    if name.startswith("vim"):
        return _vim(ctor)
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


def _vim(ctor: Mapping[str, Any]) -> nn.Module:
    mixers = {"v2": "two_way", "v1": "two_way_shared", "none": "paired"}
    return Vim(
        2,
        3,
        ctor["num_classes"],
        ctor["img_size"],
        ctor["patch_size"],
        dim=ctor["embed_dim"],
        depth=ctor["depth"],
        mixer=mixers[ctor["bimamba_type"]],
        pool="middle" if ctor["if_cls_token"] else ctor["final_pool_type"],
        positions=ctor["if_abs_pos_embed"],
        rotary=ctor.get("if_rope", False),
        norm="rms" if ctor["rms_norm"] else "layer",
    )
