"""Vim's layer: a Mamba that reads the sequence both ways between shared projections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba, initial_A_log, project
from medmamba_monai.ops import causal_conv1d, selective_scan


class VimMamba(Mamba):
    """Mix a sequence of tokens with two selective scans, one forwards and one backwards.

    Vision Mamba (arXiv 2401.09417), algorithm 1. Parameter names are those of the authors' code.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), at least 1.
        d_conv: taps of the causal convolutions, at least 1.
        expand: the inner width is ``int(expand * d_model)``.
        share: let both directions use the same convolution, projections and skip weights, and differ in the decay
            rates only (the authors' "v1"; False is their "v2").
        mean: halve the sum of the directions; the authors do so in "v2" only.

    Shape:
        x (B, L, d_model); returns the same shape.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> VimMamba(8)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Notes:
        With ``share`` the convolution runs forwards only and its result is scanned both ways. There are no streams:
        the second direction needs the end of the sequence.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        share: bool = False,
        mean: bool = True,
    ) -> None:
        super().__init__(d_model, d_state, d_conv, expand)
        self.share, self.mean = share, mean
        self.A_b_log = nn.Parameter(initial_A_log(self.d_inner, d_state))
        if not share:
            inner = self.d_inner
            self.conv1d_b = nn.Conv1d(inner, inner, d_conv, groups=inner)
            self.x_proj_b = nn.Linear(inner, self.dt_rank + 2 * d_state, bias=False)
            self.dt_proj_b = nn.Linear(self.dt_rank, inner)
            self.D_b = nn.Parameter(torch.ones(inner))
            nn.init.zeros_(self.dt_proj_b.bias)

    def mix_inner(self, x: Tensor) -> Tensor:
        return self._two_ways(*project(self.in_proj, x).chunk(2, 1))

    def _two_ways(self, u: Tensor, z: Tensor) -> Tensor:
        """Both directions of the projected input and its gate, added up."""
        first = (self.x_proj, self.dt_proj, self.D)
        v = causal_conv1d(u, self.conv1d.weight.squeeze(1), self.conv1d.bias, "silu")
        forwards = self._scan(v, z, self.A_log, *first)
        if self.share:
            backwards = self._scan(v.flip(-1), z.flip(-1), self.A_b_log, *first)
        else:
            w = causal_conv1d(u.flip(-1), self.conv1d_b.weight.squeeze(1), self.conv1d_b.bias, "silu")
            backwards = self._scan(w, z.flip(-1), self.A_b_log, self.x_proj_b, self.dt_proj_b, self.D_b)
        y = forwards + backwards.flip(-1)
        return y / 2 if self.mean else y

    def _scan(self, u: Tensor, z: Tensor, A_log: Tensor, x_proj: nn.Linear, dt_proj: nn.Linear, D: Tensor) -> Tensor:
        dt, B, C = torch.split(x_proj.weight @ u, [self.dt_rank, self.d_state, self.d_state], 1)
        y = selective_scan(
            u,
            dt_proj.weight @ dt,
            -torch.exp(A_log.float()),
            B,
            C,
            D.float(),
            z,
            dt_proj.bias.float(),
            delta_softplus=True,
        )
        assert isinstance(y, Tensor)
        return y
