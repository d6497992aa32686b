"""The block of VmambaIR: a scan in six directions, over the grid and along the channels, and a gated MLP."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.channel_scan import ChannelScan
from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.layers.scan_mixer import ScanMixer


class GatedConvFeedForward(nn.Module):
    """Widen, mix neighbours by a depthwise convolution, multiply one half by GELU of the other, narrow.

    VmambaIR (arXiv 2403.11423), section 3.2 (efficient feed-forward network); Restormer (arXiv 2111.09881), section
    3.2.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        hidden: width after the product.
        bias: give the maps and the convolution a bias.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> import torch
        >>> GatedConvFeedForward(2, 4, 8)(torch.zeros(1, 3, 3, 4)).shape
        torch.Size([1, 3, 3, 4])
    """

    def __init__(self, spatial_dims: int, channels: int, hidden: int, bias: bool = False) -> None:
        super().__init__()
        wide = 2 * hidden
        self.fc1, self.fc2 = nn.Linear(channels, wide, bias=bias), nn.Linear(hidden, channels, bias=bias)
        self.conv = Conv[Conv.CONV, spatial_dims](wide, wide, 3, padding=1, groups=wide, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, y = self.conv(self.fc1(x).movedim(-1, 1)).movedim(1, -1).chunk(2, -1)
        mixed: Tensor = self.fc2(saturate(F.gelu(gate) * y))
        return mixed


class OmniScanBlock(nn.Module):
    """x + scan(norm(x)), then x + MLP(norm(x)): the scan over the grid, weighed by a scan along the channels.

    VmambaIR (arXiv 2403.11423), figure 2 (OSS block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        mlp_ratio: width of the MLP over the channels.
        bias: give the MLP a bias; the scan has one.
        channel_width: numbers that each step of the channels' scan is widened to; with 1 it is scanned as it is, with
            a step size of the rank of the grid's.
        arguments: those of `ScanMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> import torch
        >>> OmniScanBlock(2, 6)(torch.zeros(1, 3, 5, 6)).shape
        torch.Size([1, 3, 5, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        mlp_ratio: float = 2.66,
        bias: bool = False,
        channel_width: int = 2,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mixer = ScanMixer(channels, spatial_dims, "cross", channel_scan=True, bias=True, **arguments)
        if channel_width != 2:
            rank = self.mixer.dt_rank if channel_width == 1 else 6
            self.mixer.channel_scan = ChannelScan(self.mixer.d_inner, channel_width, dt_rank=rank)
        self.mlp = GatedConvFeedForward(spatial_dims, channels, int(channels * mlp_ratio), bias)

    def forward(self, x: Tensor) -> Tensor:
        x = saturate(x + self.mixer(self.norm1(x)))
        return saturate(x + self.mlp(self.norm2(x)))
