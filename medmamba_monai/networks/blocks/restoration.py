"""The parts of MambaIR: blocks of a scan and a convolution with channel attention, and changes of resolution."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.layers.scan_mixer import ScanMixer


class ChannelAttentionConv(nn.Module):
    """Two convolutions through a bottleneck, whose channels are weighed by a small network of their means.

    MambaIR (arXiv 2402.15648), figure 2 (channel attention block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        light: half the channels between pointwise convolutions, with depthwise ones; else a third, with full ones.
        squeeze: channels over the width of the network that weighs them; where it would be 0 it is the channels.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> ChannelAttentionConv(2, 6)(torch.zeros(1, 6, 3, 5)).shape
        torch.Size([1, 6, 3, 5])
    """

    def __init__(self, spatial_dims: int, channels: int, light: bool = False, squeeze: int = 30) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        if light:
            hidden = max(channels // 2, 1)
            self.first = nn.Sequential(conv(channels, hidden, 1), conv(hidden, hidden, 3, 1, 1, groups=hidden))
            wide = conv(channels, channels, 3, 1, 2, dilation=2, groups=channels)
            self.second = nn.Sequential(conv(hidden, channels, 1), wide)
        else:
            hidden = max(channels // 3, 1)
            self.first = nn.Sequential(conv(channels, hidden, 3, 1, 1))
            self.second = nn.Sequential(conv(hidden, channels, 3, 1, 1))
        inner = channels // squeeze or channels
        self.fc1, self.fc2 = nn.Linear(channels, inner), nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = saturate(self.second(F.gelu(saturate(self.first(x)))))
        weights = torch.sigmoid(self.fc2(F.relu(saturate(self.fc1(y.flatten(2).mean(2))))))
        return y * weights.reshape(*weights.shape, *(1,) * (x.dim() - 2))


class ResidualStateSpaceBlock(nn.Module):
    """s1 x + scan(norm(x)), then s2 x + convolution(norm(x)), with a learned scale s a channel.

    MambaIR (arXiv 2402.15648), equation 4.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        drop_path: chance to drop the scan's result for a sample while training.
        light: use the lighter convolutions.
        arguments: those of `ScanMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> ResidualStateSpaceBlock(2, 6)(torch.zeros(1, 3, 5, 6)).shape
        torch.Size([1, 3, 5, 6])
    """

    def __init__(
        self, spatial_dims: int, channels: int, drop_path: float = 0.0, light: bool = False, **arguments: Any
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mixer = ScanMixer(channels, spatial_dims, **arguments)
        self.conv = ChannelAttentionConv(spatial_dims, channels, light)
        self.scale1, self.scale2 = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.ones(channels))
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = saturate(x * self.scale1 + self.drop_path(self.mixer(self.norm1(x))))
        return saturate(x * self.scale2 + self.conv(self.norm2(x).movedim(-1, 1)).movedim(1, -1))


class ShuffleUp(nn.Module):
    """A convolution of 3x3 whose channels become places: a map ``scale`` times as large.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output.
        scale: how much larger each side becomes.
        bias: give the convolution a bias.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *S * scale).

    Example:
        >>> ShuffleUp(3, 2, 1)(torch.zeros(1, 2, 3, 4, 5)).shape
        torch.Size([1, 1, 6, 8, 10])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, scale: int = 2, bias: bool = True) -> None:
        super().__init__()
        self.spatial_dims, self.scale = spatial_dims, scale
        width = channels * scale**spatial_dims
        self.conv = Conv[Conv.CONV, spatial_dims](in_channels, width, 3, 1, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return pixelshuffle(saturate(in_float32(self.conv, x)), self.spatial_dims, self.scale)


class ShuffleDown(nn.Module):
    """A convolution of 3x3, and places become channels: a map half as large.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output, divisible by 2 ** spatial_dims.

    Shape:
        x (B, in_channels, *S) with even S; returns (B, channels, *S / 2).

    Raises:
        ValueError: when the channels are not divisible.

    Example:
        >>> ShuffleDown(2, 2, 4)(torch.zeros(1, 2, 4, 6)).shape
        torch.Size([1, 4, 2, 3])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int) -> None:
        super().__init__()
        parts = 2**spatial_dims
        if channels % parts:
            raise ValueError(f"channels is {channels}: it must be divisible by {parts}, which become places")
        self.spatial_dims = spatial_dims
        self.conv = Conv[Conv.CONV, spatial_dims](in_channels, channels // parts, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return pixelunshuffle(saturate(in_float32(self.conv, x)), self.spatial_dims, 2)


def group_end(spatial_dims: int, dim: int, kind: str) -> nn.Module:
    """The convolutions at the end of a group of blocks: "1conv", or "3conv" through a quarter of the channels.

    Example:
        >>> group_end(2, 8, "3conv")(torch.zeros(1, 8, 3, 5)).shape
        torch.Size([1, 8, 3, 5])
    """
    conv = Conv[Conv.CONV, spatial_dims]
    if kind == "1conv":
        single: nn.Module = conv(dim, dim, 3, padding=1)
        return single
    inner, act = max(dim // 4, 1), nn.LeakyReLU(0.2)
    return nn.Sequential(
        conv(dim, inner, 3, padding=1), act, conv(inner, inner, 1), act, conv(inner, dim, 3, padding=1)
    )


def restoration_head(spatial_dims: int, dim: int, out_channels: int, scale: int, upsampler: str) -> nn.Module:
    """From features to the image, ``scale`` times as large: "direct" in one step, "shuffle" in steps of 2 or 3.

    Example:
        >>> restoration_head(2, 8, 1, 4, "shuffle")(torch.zeros(1, 8, 3, 5)).shape
        torch.Size([1, 1, 12, 20])
    """
    conv = Conv[Conv.CONV, spatial_dims]
    if scale == 1:
        last: nn.Module = conv(dim, out_channels, 3, padding=1)
        return last
    if upsampler == "direct":
        return ShuffleUp(spatial_dims, dim, out_channels, scale)
    steps = [3] if scale == 3 else list(repeat(2, scale.bit_length() - 1))
    ups = nn.Sequential(*(ShuffleUp(spatial_dims, 64, 64, step) for step in steps))
    before = nn.Sequential(conv(dim, 64, 3, padding=1), nn.LeakyReLU(0.01))
    return nn.Sequential(before, ups, conv(64, out_channels, 3, padding=1))
