"""The constructor arguments of the authors of the 3D, slide and restoration networks, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai.networks.blocks.nn_mamba import SiameseMambaBlock
from medmamba_monai.networks.layers.directed_mamba2 import DirectedMamba2
from medmamba_monai.networks.nets import (
    S4MIL,
    FusionMamba,
    GATMamba,
    MambaIR,
    MambaIRUNet,
    MambaMIL,
    MambaMorph,
    MambaRecon,
    MamMIL,
    NnMamba,
    NnMambaClassifier,
    SegMamba,
    TMamba,
    Vivim,
    VMambaMorph,
)

NAMES = (
    "fusionmamba",
    "gat_mamba",
    "mambair",
    "mambair_unet",
    "mambamil_bimamba",
    "mambamil_mamba",
    "mambamil_srmamba",
    "mambamorph",
    "mambarecon",
    "mammil",
    "mammil_bimamba2",
    "mammil_directmamba",
    "nnmamba_cls",
    "nnmamba_cls_b",
    "nnmamba_miccss_layer",
    "nnmamba_seg",
    "s4mil",
    "segmamba",
    "tmamba",
    "vivim",
    "vmambamorph",
)


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our network of an oracle from the constructor arguments of its upstream class."""
    if name == "nnmamba_miccss_layer":
        return SiameseMambaBlock(3, ctor["dim"], ctor["d_state"])
    if name.startswith("nnmamba"):
        return _nnmamba(name, ctor)
    if name.endswith("mambamorph"):
        return _morph(name, ctor)
    if name.startswith("mammil_"):
        return _directed(ctor)
    if name.startswith("mambamil"):
        return _mambamil(ctor)
    if name == "tmamba":
        return TMamba(3, ctor["in_channels"], ctor["classes"], img_size=ctor["input_size"])
    if name == "gat_mamba":
        return _gat_mamba(ctor)
    if name == "fusionmamba":
        return _fusion(ctor)
    if name == "mambarecon":
        return _mambarecon(ctor)
    if name == "mambair_unet":
        return _mambair_unet(ctor)
    return {"mambair": _mambair, "mammil": _mammil, "s4mil": _s4mil, "segmamba": _segmamba, "vivim": _vivim}[name](ctor)


def _mambamil(ctor: Mapping[str, Any]) -> nn.Module:
    mixer = {"SRMamba": "reordered", "BiMamba": "two_way", "Mamba": "plain"}[ctor["type"]]
    sizes = {"dim": ctor["width"], "depth": ctor["layer"], "rate": ctor["rate"], "attention": ctor["att"]}
    return MambaMIL(ctor["in_dim"], ctor["n_classes"], mixer=mixer, act=ctor["act"], dropout=ctor["dropout"], **sizes)


def _s4mil(ctor: Mapping[str, Any]) -> nn.Module:
    net = S4MIL(ctor["in_dim"], ctor["n_classes"], ctor["width"], ctor["act"], ctor["dropout"])
    net.register_forward_pre_hook(lambda _, given: (given[0].unsqueeze(0),))
    return net


def _mammil(ctor: Mapping[str, Any]) -> nn.Module:
    """Takes the walks one by one, and everything without a batch."""
    sizes = {"dim": ctor["embed_dim"], "depth": ctor["layer_n"], "d_state": ctor["d_state"]}
    net = MamMIL(ctor["input_dim"], ctor["num_classes"], act=ctor["act"], design="released", **sizes)
    net.register_forward_pre_hook(
        lambda _, given: (given[0].unsqueeze(0), given[1].unsqueeze(0), torch.stack(given[2:]).unsqueeze(0))
    )
    return net


def _directed(ctor: Mapping[str, Any]) -> nn.Module:
    orders = ctor.get("n_directions", 1)
    net = DirectedMamba2(ctor["d_model"], orders, ctor["d_state"], headdim=ctor["headdim"])

    def with_orders(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        x, *walks = given
        walks = walks or [torch.arange(x.shape[1])]
        return x, torch.stack(walks).expand(len(x), -1, -1)

    net.register_forward_pre_hook(with_orders)
    return net


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


def _vivim(ctor: Mapping[str, Any]) -> nn.Module:
    """Takes clips as (B, frames, channels, H, W) and returns frames one after the other."""
    given = {"dims": ctor["feat_size"], "depths": [1] * 4, "heads": [1, 2, 2, 3], "slices": 5}
    net = Vivim(3, ctor["in_chans"], ctor["out_chans"], **given)
    net.register_forward_pre_hook(lambda _, x: (x[0].transpose(1, 2),))
    net.register_forward_hook(lambda _, __, y: y.transpose(1, 2).flatten(0, 1))
    return net


def _morph(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Returns what the authors' network returns: moved image, velocity, displacement, read-out features."""
    given = {"dim": ctor["embed_dim"], "head_channels": ctor["reg_head_chan"], "d_state": ctor["d_state"]}
    given |= {"features": True, "read_out": True}
    if name == "mambamorph":
        net = MambaMorph(3, 1, levels=len(ctor["depths"]), **given)
    else:
        net = VMambaMorph(3, 1, depths=ctor["depths"], design="released", **given)

    def forward(source: Tensor, target: Tensor) -> list[Tensor]:
        velocity = net.velocity(source, target)
        ddf = net.deformation.integrate(velocity)
        return [net.deformation.warp(source, ddf), velocity, ddf, net.describe(source, target)]

    net.forward = forward  # type: ignore[method-assign, assignment]
    return net


def _mambair(ctor: Mapping[str, Any]) -> nn.Module:
    upsampler = {"": "shuffle", "pixelshuffle": "shuffle", "pixelshuffledirect": "direct"}[ctor["upsampler"]]
    given = {"d_state": ctor["d_state"], "expand": ctor["mlp_ratio"], "last_conv": ctor["resi_connection"]}
    return MambaIR(2, ctor["in_chans"], None, ctor["embed_dim"], ctor["depths"], ctor["upscale"], upsampler, **given)


def _mambair_unet(ctor: Mapping[str, Any]) -> nn.Module:
    given = {"refinement": ctor["num_refinement_blocks"], "bias": ctor["bias"], "expand": ctor["mlp_ratio"]}
    return MambaIRUNet(2, ctor["inp_channels"], ctor["out_channels"], ctor["dim"], ctor["num_blocks"], **given)


def _fusion(ctor: Mapping[str, Any]) -> nn.Module:
    given = {key: ctor[key] for key in ("depths", "depths_decoder", "dims", "patch_size", "d_state")}
    return FusionMamba(2, ctor["in_chans"], design="released", **given)


def _mambarecon(ctor: Mapping[str, Any]) -> nn.Module:
    """Takes the coils' maps as (B, 2, coils, H, W)."""
    net = MambaRecon(2, ctor["dims"][0], ctor["depths"], ctor["patch_size"], ctor["d_state"])
    net.register_forward_pre_hook(lambda _, given: (*given[:2], given[2].movedim(1, -1)))
    return net


def _gat_mamba(ctor: Mapping[str, Any]) -> nn.Module:
    """Takes the places in the first two columns, and edges' features that count for nothing; returns both outputs."""
    sizes = {"hidden": ctor["uni_hidden"], "position_channels": ctor["positional_embedding_size"]}
    net = GATMamba(1024, 1, depth=ctor["num_model_layers"], **sizes)

    def forward(x: Tensor, edges: Tensor, _: Tensor, graphs: Tensor) -> list[Tensor]:
        pooled = net.embed(x[:, 2:], x[:, :2], edges, graphs)
        return [net.head(pooled), pooled]

    net.forward = forward  # type: ignore[method-assign, assignment]
    return net
