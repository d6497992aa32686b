"""A scan along the channels of a pooled map, which weighs them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import initial_A_log, initial_dt_bias
from medmamba_monai.networks.layers.precision import without_autocast
from medmamba_monai.ops import bidirectional_selective_scan


class ChannelScan(nn.Module):
    """Take the means of the channels for a sequence, scan it both ways, and give a weight for each channel.

    VmambaIR (arXiv 2403.11423), section 3.3 (omni selective scan, its channel part).

    Args:
        channels: length of the sequence.
        width: numbers that each step is widened to; with 1 it is scanned as it is.
        d_state: numbers in the state of each of them.
        dt_rank: rank of the step size's projection.

    Shape:
        means (B, channels); returns the same shape, in float32 at least.

    Example:
        >>> ChannelScan(12)(torch.zeros(2, 12)).shape
        torch.Size([2, 12])

    Notes:
        As in the authors' code the decay rates start at random where steps are widened.
    """

    def __init__(self, channels: int, width: int = 2, d_state: int = 16, dt_rank: int = 6) -> None:
        super().__init__()
        self.widths = [dt_rank, d_state, d_state]
        self.widen: nn.Module = nn.Linear(1, width) if width > 1 else nn.Identity()
        self.x_proj_weight = nn.Parameter(torch.empty(2, sum(self.widths), width))
        self.dt_projs_weight = nn.Parameter(torch.empty(2, width, dt_rank))
        self.dt_projs_bias = nn.Parameter(initial_dt_bias((2, width)))
        rates = torch.randn(2, width, d_state) if width > 1 else initial_A_log(2, d_state).unsqueeze(1)
        self.A_logs = nn.Parameter(rates)
        self.Ds = nn.Parameter(torch.ones(2, width))
        self.narrow: nn.Module = nn.Linear(width, 1) if width > 1 else nn.Identity()
        self.norm = nn.LayerNorm(channels)
        nn.init.uniform_(self.x_proj_weight, -(width**-0.5), width**-0.5)
        nn.init.uniform_(self.dt_projs_weight, -(dt_rank**-0.5), dt_rank**-0.5)

    def forward(self, means: Tensor) -> Tensor:
        with without_autocast(means):
            means = means.float() if means.element_size() < 4 else means
            u = self.widen(means.unsqueeze(-1)).transpose(1, 2)
            dt, B, C = (self.x_proj_weight @ u.unsqueeze(1)).split_with_sizes(self.widths, 2)
            # (B, direction, path, ...): one path, both ways
            delta, B, C = (x.unsqueeze(2) for x in (self.dt_projs_weight @ dt, B, C))
            A, D, bias = (x.unsqueeze(1) for x in (-self.A_logs.exp(), self.Ds, self.dt_projs_bias))
            y = bidirectional_selective_scan(u.unsqueeze(1), delta, A, B, C, D, bias, delta_softplus=True)
            weights: Tensor = self.norm(self.narrow(y[:, 0].transpose(1, 2)).squeeze(-1))
        return weights
