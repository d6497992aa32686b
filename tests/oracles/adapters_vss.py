"""The constructor arguments of the authors of VSS networks, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from medmamba_monai.networks.nets import (
    MambaUNet,
    MSVMUNet,
    SwinUMamba,
    SwinUMambaD,
    UltraLightVMUNet,
    VMamba,
    VMUNet,
    VMUNetV2,
)

NAMES = (
    "vmamba_v0", "vmamba_v2", "vmamba_v2_channel_last", "vmamba_v2_gmlp_bn", "vmamba_v2_bidi", "vmamba_v2_cascade2d",
    "vm_unet", "mamba_unet", "swin_umamba",
    "swin_umamba_d", "msvm_unet", "ultralight_vm_unet", "ultralight_vm_unet_nobridge",
    "vm_unet_v2",
)  # fmt: skip


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our network of an oracle from the constructor arguments of its upstream class."""
    if name.startswith("vmamba"):
        return _vmamba(ctor)
    builders = {
        "vm_unet": _vm_unet,
        "vm_unet_v2": _vm_unet_v2,
        "mamba_unet": _mamba_unet,
        "swin_umamba": _swin_umamba,
        "swin_umamba_d": _swin_umamba_d,
        "msvm_unet": _msvm_unet,
        "ultralight_vm_unet": _ultralight,
        "ultralight_vm_unet_nobridge": _ultralight,
    }
    return builders[name](ctor)


def probabilities(net: nn.Module) -> nn.Module:
    """Let a network give probabilities, as the authors' networks with a sigmoid at their end."""
    net.register_forward_hook(lambda _, __, found: torch.sigmoid(found))
    return net


def repeated(net: nn.Module, channels: int) -> nn.Module:
    """Let a network take images of one channel by repeating it, as the authors' networks do."""

    def repeat(_: nn.Module, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (given[0].expand(-1, channels, -1, -1),)

    net.register_forward_pre_hook(repeat)
    return net


def _vm_unet(ctor: Mapping[str, Any]) -> nn.Module:
    net = VMUNet(
        2,
        ctor["input_channels"],
        ctor["num_classes"],
        ctor["depths"],
        ctor["depths_decoder"],
        _dims(ctor),
        d_state=ctor.get("d_state", 16),
        drop_path_rate=ctor["drop_path_rate"],
    )
    return probabilities(net) if ctor["num_classes"] == 1 else net


def _mamba_unet(ctor: Mapping[str, Any]) -> nn.Module:
    channels = ctor["in_chans"]
    net = MambaUNet(2, channels, ctor["num_classes"], ctor["depths"], _dims(ctor), d_state=ctor.get("d_state", 16))
    return repeated(net, channels)


def _dims(ctor: Mapping[str, Any], default: int = 96) -> list[int]:
    dims = ctor.get("dims", default)
    return [dims * 2**stage for stage in range(len(ctor["depths"]))] if isinstance(dims, int) else list(dims)


def _vmamba(ctor: Mapping[str, Any]) -> nn.Module:
    return VMamba(
        2,
        ctor["in_chans"],
        ctor["num_classes"],
        ctor["depths"],
        _dims(ctor),
        ctor["patch_size"],
        order={"v051d": "unidi", "v052d": "bidi", "v052dc": "cascade_released"}.get(
            ctor["forward_type"].split("_")[0], "cross"
        ),
        d_state=ctor["ssm_d_state"],
        expand=ctor["ssm_ratio"],
        gate="_noz" not in ctor["forward_type"],
        conv_bias=ctor["ssm_conv_bias"],
        embed={"v1": "patch", "v2": "overlap"}[ctor["patchembed_version"]],
        merge={"v1": "patch", "v3": "conv"}[ctor["downsample_version"]],
        mlp_ratio=ctor["mlp_ratio"],
        gated_mlp=ctor.get("gmlp", False),
        norm="batch" if ctor["norm_layer"] == "bn" else "layer",
    )


def _swin_umamba(ctor: Mapping[str, Any]) -> nn.Module:
    # compared in training mode, the only one in which our network returns all outputs: nothing may be dropped
    return SwinUMamba(
        2,
        ctor["in_chans"],
        ctor["out_chans"],
        ctor.get("encoder_depths", [2, 2, 9, 2]),
        ctor.get("encoder_dims", [96, 192, 384, 768]),
        d_state=ctor.get("encoder_d_state", 16),
        drop_path_rate=0.0,
        deep_supervision=ctor["deep_supervision"],
    )


def _swin_umamba_d(ctor: Mapping[str, Any]) -> nn.Module:
    encoder, decoder = ctor["vss_args"], ctor["decoder_args"]
    return SwinUMambaD(
        2,
        encoder["in_chans"],
        decoder["num_classes"],
        encoder["depths"],
        decoder["features_per_stage"],
        encoder["patch_size"],
        d_state=decoder["d_state"],
        drop_path_rate=0.0,
        deep_supervision=decoder["deep_supervision"],
    )


def _msvm_unet(ctor: Mapping[str, Any]) -> nn.Module:
    dims = [ctor["EMBED_DIM"] * 2**stage for stage in range(4)]
    return MSVMUNet(2, ctor["in_channels"], ctor["num_classes"], ctor["DEPTHS"], dims)


def _ultralight(ctor: Mapping[str, Any]) -> nn.Module:
    channels, bridge, split_att = ctor["c_list"], ctor["bridge"], ctor["split_att"]
    net = UltraLightVMUNet(2, ctor["input_channels"], ctor["num_classes"], channels, bridge=bridge, split_att=split_att)
    return probabilities(net)


def _vm_unet_v2(ctor: Mapping[str, Any]) -> nn.Module:
    channels, classes = ctor["input_channels"], ctor["num_classes"]
    return probabilities(VMUNetV2(2, channels, classes, ctor["depths"][:-1], _dims(ctor), ctor["mid_channel"]))
