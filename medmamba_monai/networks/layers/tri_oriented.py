"""A Mamba that reads a volume forwards, backwards and across its slices, between shared projections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import initial_A_log, initial_dt_bias, project
from medmamba_monai.networks.layers.vim import VimMamba
from medmamba_monai.ops import causal_conv1d


class TriOrientedMamba(VimMamba):
    """Mix the tokens of a volume with three selective scans: forwards, backwards and along the slices.

    SegMamba (arXiv 2401.13560), equation 5 (tri-orientated Mamba); Vivim (arXiv 2401.14168), figure 2, takes the mean.
    Parameter names are those of the authors' code.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), at least 1.
        d_conv: taps of the causal convolutions, at least 1.
        expand: the inner width is ``int(expand * d_model)``.
        mean: divide the sum of the three directions by three.

    Shape:
        x (B, L, d_model), taken as one slice; returns the same shape. `mix` takes (B, d_model, L) and the slices.

    Raises:
        ValueError: when an argument is out of range, or the slices do not divide the tokens.

    Example:
        >>> TriOrientedMamba(8).mix(torch.zeros(2, 8, 6), 3).shape
        torch.Size([2, 8, 6])

    Notes:
        The third direction takes the same place of all slices one after the other, then the next place. The authors
        leave the initial step sizes of the second and third direction to chance; here all three start alike.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: float = 2, mean: bool = False) -> None:
        super().__init__(d_model, d_state, d_conv, expand, mean=False)
        inner = self.d_inner
        self.thirds = mean
        self.A_s_log = nn.Parameter(initial_A_log(inner, d_state))
        self.conv1d_s = nn.Conv1d(inner, inner, d_conv, groups=inner)
        self.x_proj_s = nn.Linear(inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj_s = nn.Linear(self.dt_rank, inner)
        self.D_s = nn.Parameter(torch.ones(inner))
        with torch.no_grad():
            for projection in (self.dt_proj_b, self.dt_proj_s):
                projection.bias.copy_(initial_dt_bias((inner,)))

    def mix(self, x: Tensor, slices: int = 1) -> Tensor:
        """The layer with channels first: (B, d_model, L) to (B, d_model, L), L being ``slices`` equal parts."""
        if x.shape[-1] % slices:
            raise ValueError(
                f"the map has {x.shape[-1]} tokens, which are not {slices} equal slices: pad the input, or let the "
                "network take the number of slices from the map"
            )
        u, z = project(self.in_proj, x).chunk(2, 1)
        y = self._two_ways(u, z)
        across = [t.unflatten(-1, (slices, -1)).transpose(2, 3).flatten(2) for t in (u, z)]
        v = causal_conv1d(across[0], self.conv1d_s.weight.squeeze(1), self.conv1d_s.bias, "silu")
        third = self._scan(v, across[1], self.A_s_log, self.x_proj_s, self.dt_proj_s, self.D_s)
        y = y + third.unflatten(-1, (-1, slices)).transpose(2, 3).flatten(2)
        return project(self.out_proj, y / 3 if self.thirds else y)
