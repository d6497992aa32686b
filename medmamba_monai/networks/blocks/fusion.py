"""Fusion of all levels of a pyramid: attention on each map, and products of the maps at each resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import in_float32, saturate


class ConvAttention(nn.Module):
    """Weigh the channels of a map by its means and maxima, then its places by those of its channels.

    CBAM (arXiv 1807.06521), section 3.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> ConvAttention(2, 16)(torch.zeros(1, 16, 3, 5)).shape
        torch.Size([1, 16, 3, 5])
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        conv, hidden = Conv[Conv.CONV, spatial_dims], max(channels // 16, 1)
        self.fc1, self.fc2 = conv(channels, hidden, 1, bias=False), conv(hidden, channels, 1, bias=False)
        self.places = conv(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(2, x.dim()))
        pooled = (x.mean(axes, keepdim=True), x.amax(axes, keepdim=True))
        x = saturate(sum(saturate(self.fc2(F.relu(saturate(self.fc1(p))))) for p in pooled)).sigmoid() * x  # type: ignore[arg-type]
        seen = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        weighed: Tensor = saturate(self.places(seen)).sigmoid() * x
        return weighed


class LevelProject(nn.Module):
    """A pointwise convolution and a batch norm, to bring all levels to the same channels.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the level.
        channels: channels of all levels.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *S).

    Example:
        >>> LevelProject(2, 8, 4)(torch.zeros(2, 8, 3, 5)).shape
        torch.Size([2, 4, 3, 5])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](in_channels, channels, 1, bias=False)
        self.norm = Norm[Norm.BATCH, spatial_dims](channels)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.norm(saturate(self.conv(x)))
        return projected


class LevelProduct(nn.Module):
    """Bring all levels to one size, convolve each and multiply them.

    U-Net v2 (arXiv 2311.17791), section 2.2 (SDI).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of all levels.
        levels: number of levels.

    Shape:
        maps (B, channels, *S_i) and a size; returns (B, channels, *size).

    Example:
        >>> maps = [torch.zeros(1, 4, 6, 5), torch.zeros(1, 4, 3, 3)]
        >>> LevelProduct(2, 4, 2)(maps, (3, 3)).shape
        torch.Size([1, 4, 3, 3])
    """

    def __init__(self, spatial_dims: int, channels: int, levels: int) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.convs = nn.ModuleList(conv(channels, channels, 3, padding=1) for _ in range(levels))

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        product: Tensor | None = None
        for x, conv in zip(maps, self.convs, strict=True):
            # products of several factors leave float16's range, and so do their gradients
            factor = in_float32(conv, _to_size(x, tuple(size)))
            product = factor if product is None else product * factor
        assert product is not None
        return saturate(product)


def _to_size(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Averages where the map is larger, linear interpolation with the corners in place where it is smaller."""
    if x.shape[2] > size[0] or x.shape[-1] > size[-1]:
        pooled: Tensor = (F.adaptive_avg_pool2d if x.dim() == 4 else F.adaptive_avg_pool3d)(x, size)  # type: ignore[arg-type]
        return pooled
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear" if x.dim() == 4 else "trilinear", align_corners=True)
