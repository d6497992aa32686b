"""The constructor arguments of the state-space cores' authors, translated to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba2 import Mamba2
from medmamba_monai.networks.layers.s4 import S4
from medmamba_monai.networks.layers.s4d import S4D
from medmamba_monai.networks.layers.s5 import S5

NAMES = (
    "mamba2", "mamba2_nonorm", "mamba2_normbefore", "mamba2_simple", "s4", "s4_diag_bilinear", "s4_diag_zoh",
    "s4_real", "s4d", "s4d_s4model", "s4d_s4model_prenorm", "s5", "s5_block",
)  # fmt: skip


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our core of an oracle from the constructor arguments of its upstream class."""
    if name.startswith("mamba2"):
        return _mamba2(ctor, 64 if name == "mamba2_simple" else 128)
    if name == "s5":
        return S5(ctor["width"], ctor["state_width"], conj_sym=False)
    if name.startswith("s4d_s4model"):
        return S4Classifier(**ctor)
    if name == "s4d":
        return channels_first(S4D(ctor["d_model"], ctor.get("d_state", 64), ctor.get("dropout", 0.0)))
    return S5Block(**ctor) if name == "s5_block" else _s4(ctor)


def channels_first(layer: nn.Module) -> nn.Module:
    """Let a layer take and give (B, D, L)."""
    layer.register_forward_pre_hook(lambda _, given: (given[0].transpose(1, 2),))
    layer.register_forward_hook(lambda _, __, found: found.transpose(1, 2))
    return layer


def _mamba2(ctor: Mapping[str, Any], d_state: int) -> nn.Module:
    known = ("d_model", "d_conv", "expand", "ngroups", "norm_before_gate", "rmsnorm", "dt_min", "dt_max", "dt_limit")
    known += ("bias", "conv_bias", "chunk_size")
    given = {key: ctor[key] for key in known if key in ctor}
    return Mamba2(d_state=ctor.get("d_state", d_state), headdim=ctor.get("headdim", 64), **given)


def _s4(ctor: Mapping[str, Any]) -> nn.Module:
    mode, disc = ctor["mode"], {"dplr": "bilinear"}.get(ctor["mode"], ctor.get("disc", "zoh"))
    is_real = ctor.get("is_real", False)
    return channels_first(S4(ctor["d_model"], ctor["d_state"], mode, ctor["init"], disc, is_real))


class S4Classifier(nn.Module):
    """The example model of the S4D authors: encode, layers with residuals and norms, mean over the length, decode."""

    def __init__(
        self, d_input: int, d_output: int, d_model: int, n_layers: int, prenorm: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.prenorm = prenorm
        self.encoder, self.decoder = nn.Linear(d_input, d_model), nn.Linear(d_model, d_output)
        self.s4_layers = nn.ModuleList(S4D(d_model, dropout=dropout) for _ in range(n_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(n_layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(x)
        for layer, norm in zip(self.s4_layers, self.norms, strict=True):
            x = x + layer(norm(x)) if self.prenorm else norm(x + layer(x))
        y: Tensor = self.decoder(x.mean(1))
        return y


class S5Block(nn.Module):
    """The block of the S5 port; its residuals add the normed input."""

    def __init__(self, dim: int, state_dim: int, bidir: bool, block_count: int = 1, bcInit: str = "dense") -> None:
        super().__init__()
        assert bcInit == "dense"
        self.s5 = S5(dim, state_dim, block_count, conj_sym=False, bidirectional=bidir)
        self.attn_norm, self.ff_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ff_enc, self.ff_dec = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn_norm(x)
        x = self.ff_norm(F.gelu(self.s5(x)) + x)
        value, gate = self.ff_enc(x).chunk(2, -1)
        y: Tensor = self.ff_dec(value * F.gelu(gate)) + x
        return y


def after_first_forward(net: S4, length: int) -> None:
    """Rewrite C of a "dplr" layer as the authors' first forward does: C (1 - A^L), and L in l_kernel."""
    kernel = net.layer.kernel
    state = net.state_dict()
    A, _, C = kernel.system()
    new = C - (torch.linalg.matrix_power(A, length).mT @ C.unsqueeze(-1)).squeeze(-1)
    half = C.shape[-1] // 2
    state["layer.kernel.C"] = torch.stack((new[:, :half], -new[:, half:]), -1).div(2).float().detach()[None]
    state["layer.kernel.l_kernel"] = torch.tensor(length)
    net.load_state_dict(state)
