"""The constructor arguments of the state-space cores' authors, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from medmamba_monai.networks.layers.mamba2 import Mamba2

NAMES = ("mamba2", "mamba2_nonorm", "mamba2_normbefore", "mamba2_simple")


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our core of an oracle from the constructor arguments of its upstream class."""
    return _mamba2(ctor, 64 if name == "mamba2_simple" else 128)


def _mamba2(ctor: Mapping[str, Any], d_state: int) -> nn.Module:
    known = ("d_model", "d_conv", "expand", "ngroups", "norm_before_gate", "rmsnorm", "dt_min", "dt_max", "dt_limit")
    known += ("bias", "conv_bias", "chunk_size")
    given = {key: ctor[key] for key in known if key in ctor}
    return Mamba2(d_state=ctor.get("d_state", d_state), headdim=ctor.get("headdim", 64), **given)
