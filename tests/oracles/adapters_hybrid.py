"""The constructor arguments of the authors of the hybrid U-Nets, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from medmamba_monai.networks.nets import HMTUNet, HVMUNet
from tests.oracles.adapters_vss import probabilities

NAMES = ("hmt_unet", "h_vmunet")


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our network of an oracle from the constructor arguments of its upstream class."""
    return {"hmt_unet": _hmt_unet, "h_vmunet": _h_vmunet}[name](ctor)


def _hmt_unet(ctor: Mapping[str, Any]) -> nn.Module:
    known = ("depths", "num_heads", "window_size", "dim", "in_dim", "mlp_ratio")
    return probabilities(HMTUNet(design="released", **{key: ctor[key] for key in known if key in ctor}))


def _h_vmunet(ctor: Mapping[str, Any]) -> nn.Module:
    channels, bridge, split_att = ctor["c_list"], ctor["bridge"], ctor["split_att"]
    net = HVMUNet(
        2, ctor["input_channels"], ctor["num_classes"], channels, ctor["depths"], bridge=bridge, split_att=split_att
    )
    return probabilities(net)
