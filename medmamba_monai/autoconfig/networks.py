"""The networks that can be planned: their arguments from a configuration's patch, strides and features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medmamba_monai.autoconfig.nnunet_plans import even_blocks, released_network

__all__ = ["NETWORKS", "define_network"]

Record = dict[str, Any]
NETS = "medmamba_monai.networks.nets."


def define_network(name: str, plan: Mapping[str, Any], in_channels: int, out_channels: int) -> Record:
    """The ``network_def`` of a bundle.

    Args:
        name: one of ``NETWORKS``.
        plan: ``patch_size``, ``strides``, ``kernel_sizes``, ``features``, ``n_blocks``, ``n_decoder_blocks``.
        in_channels: channels of the image.
        out_channels: classes with the background.

    Raises:
        ValueError: the network is unknown, or does not exist in these dimensions.

    Example:
        >>> plan = {"patch_size": [64, 64], "features": [8, 16], "strides": [[1, 1], [2, 2]]}
        >>> define_network("swin_umamba", plan, 3, 2)["_target_"]
        'medmamba_monai.networks.nets.SwinUMamba'
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is unknown: choose one of {', '.join(NETWORKS)}")
    dims = len(plan["patch_size"])
    if name.endswith("_released"):
        variant = name.removeprefix("umamba_").removesuffix("_released")
        return released_network(variant, plan, even_blocks(plan), in_channels, out_channels)
    target, arguments = NETWORKS[name](plan, dims)
    return {
        "_target_": target,
        "spatial_dims": dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
        **arguments,
    }


def _nnunet_like(plan: Mapping[str, Any]) -> Record:
    names = ("features", "strides", "kernel_sizes", "n_blocks", "n_decoder_blocks")
    return {name: plan[name] for name in names} | {"deep_supervision": True}


def _umamba(variant: str) -> Callable[[Mapping[str, Any], int], tuple[str, Record]]:
    def define(plan: Mapping[str, Any], dims: int) -> tuple[str, Record]:
        return NETS + "UMamba", _nnunet_like(plan) | {"variant": variant, "design": "paper"}

    return define


def _lkm(plan: Mapping[str, Any], dims: int) -> tuple[str, Record]:
    return NETS + "LKMUNet", _nnunet_like(plan)


def _lightm(plan: Mapping[str, Any], dims: int) -> tuple[str, Record]:
    return NETS + "LightMUNet", {"init_filters": max(8, plan["features"][0])}


def _swin(plan: Mapping[str, Any], dims: int) -> tuple[str, Record]:
    if dims != 2:
        raise ValueError("swin_umamba reads pictures, but these are volumes: choose umamba_bottleneck")
    base = max(24, 3 * plan["features"][0])
    return NETS + "SwinUMamba", {"dims": [base * 2**stage for stage in range(4)], "deep_supervision": True}


def _unet(plan: Mapping[str, Any], dims: int) -> tuple[str, Record]:
    return "UNet", {"channels": plan["features"], "strides": plan["strides"][1:], "num_res_units": 2}


def _segresnet(plan: Mapping[str, Any], dims: int) -> tuple[str, Record]:
    stages = min(4, len(plan["features"]))
    blocks = {"blocks_down": [1, 2, 2, 4][:stages], "blocks_up": [1] * (stages - 1)}
    return "SegResNet", {"init_filters": max(8, plan["features"][0]), **blocks}


NETWORKS: dict[str, Callable[[Mapping[str, Any], int], tuple[str, Record]]] = {
    "umamba_bottleneck": _umamba("bottleneck"),
    "umamba_encoder": _umamba("encoder"),
    # the blocks of the authors' public code, so that weights can go there
    "umamba_bottleneck_released": _umamba("bottleneck"),
    "umamba_encoder_released": _umamba("encoder"),
    "lkm_unet": _lkm,
    "lightm_unet": _lightm,
    "swin_umamba": _swin,
    "monai_unet": _unet,
    "monai_segresnet": _segresnet,
}
