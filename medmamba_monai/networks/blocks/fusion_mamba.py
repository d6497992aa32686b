"""The parts of FusionMamba: convolutions that learn their contrast, channel weights, and a scan of two images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.vss import Mlp
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.layers.scan_mixer import ScanMixer


class ContrastConv(nn.Module):
    """A convolution of 3x3 whose centre is lowered by a learned share of the kernel's sum.

    FusionMamba (arXiv 2404.09498), equation 6 (learnable descriptive convolution).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> ContrastConv(2, 4)(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])

    Notes:
        The authors' code holds the ones it subtracts from as a tensor of the kernel's size that is never trained.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        if spatial_dims == 3:
            self.conv = nn.Conv3d(channels, channels, 3, padding=1, bias=False)  # type: ignore[assignment]
        self.share = nn.Parameter(torch.ones(channels, channels))
        self.theta = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        axes = tuple(range(2, weight.dim()))
        centre = torch.zeros_like(weight[0, 0]).flatten()
        centre[len(centre) // 2] = 1
        share = self.share.reshape(*self.share.shape, *(1,) * len(axes))
        lowered = self.theta * share * centre.reshape(weight.shape[2:]) * weight.sum(axes, keepdim=True)
        convolve = F.conv2d if len(axes) == 2 else F.conv3d
        return saturate(convolve(x, weight * (1 - lowered), padding=1))


class NeighbourWeights(nn.Module):
    """Weigh channels by a convolution along the channels of their means.

    ECA-Net (arXiv 1910.03151), equation 5.

    Shape:
        x (B, C, *S); returns the same shape.

    Example:
        >>> NeighbourWeights()(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.flatten(2).mean(2).unsqueeze(1)
        weights = torch.sigmoid(in_float32(self.conv, means)).squeeze(1)
        return saturate(x * weights.reshape(*weights.shape, *(1,) * (x.dim() - 2)))


class ChannelSelect(nn.Module):
    """Weigh the channels of a grid by a small network of their normalised means.

    EfficientVMamba (arXiv 2403.09977) and LocalMamba (arXiv 2403.09338), their attention over channels.

    Args:
        channels: channels of a token.
        reduction: channels over the network's inner width.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> ChannelSelect(8)(torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(channels // reduction, 1)
        self.norm = nn.LayerNorm(channels)
        self.fc1, self.fc2 = nn.Linear(channels, inner), nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        means = self.norm(x).flatten(1, -2).mean(1)
        weights = torch.sigmoid(self.fc2(F.gelu(self.fc1(means))))
        return saturate(x * weights.reshape(len(x), *(1,) * (x.dim() - 2), -1))


class DynamicVSSBlock(nn.Module):
    """A scan, enhanced by weighed channels and a contrast convolution, and an MLP, each beside the identity.

    FusionMamba (arXiv 2404.09498), figure 3 (dynamic vision state space block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        arguments: those of `ScanMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> DynamicVSSBlock(2, 8)(torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, spatial_dims: int, channels: int, **arguments: Any) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mixer = ScanMixer(channels, spatial_dims, **arguments)
        self.weigh, self.conv = NeighbourWeights(), ContrastConv(spatial_dims, channels)
        self.select = ChannelSelect(channels)
        self.mlp = Mlp(spatial_dims, channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        scanned = self.mixer(self.norm1(x))
        grid = scanned.movedim(-1, 1)
        convolved = self.conv(grid + self.weigh(grid)).movedim(1, -1)
        x = saturate(x + self.select(scanned) + self.select(convolved))
        return saturate(x + self.mlp(self.norm2(x)))


class CrossScan(ScanMixer):
    """Scan the product and the sum of two grids, gated by both.

    FusionMamba (arXiv 2404.09498), figure 4 (cross-modality Mamba).

    Args:
        d_model: channels of a token.
        spatial_dims: 2 or 3.
        released: as in the authors' code, take the second gate from the first one, so that the second grid has none.
        arguments: those of `ScanMixer`.

    Shape:
        `join` takes two grids (B, *S, d_model), channels last; returns the same shape.

    Example:
        >>> CrossScan(8).join(torch.zeros(1, 3, 5, 8), torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, d_model: int, spatial_dims: int = 2, released: bool = False, **arguments: Any) -> None:
        super().__init__(d_model, spatial_dims, **arguments)
        self.in_proj2 = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.released = released

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        (u1, z1), (u2, z2) = self.in_proj(a).chunk(2, -1), self.in_proj2(b).chunk(2, -1)
        v1, v2 = (F.silu(saturate(self.conv(saturate(u).movedim(-1, 1)))) for u in (u1, u2))
        y = self.scan(saturate(v1 * v2 + v1 + v2)).movedim(1, -1)
        gate = F.silu(z1)
        other = F.silu(gate if self.released else z2)
        y = self.out_norm(y) * (gate + other)
        return saturate(F.linear(y, self.out_proj.weight))


class CrossBlock(nn.Module):
    """Join the maps of two images: each enhanced by what differs from the other, then scanned together.

    FusionMamba (arXiv 2404.09498), figure 4 (dynamic feature fusion).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        released: see `CrossScan`.
        arguments: those of `ScanMixer`.

    Shape:
        two grids (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> CrossBlock(2, 8)(torch.zeros(1, 3, 5, 8), torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, spatial_dims: int, channels: int, released: bool = False, **arguments: Any) -> None:
        super().__init__()
        self.conv1, self.conv2 = ContrastConv(spatial_dims, channels), ContrastConv(spatial_dims, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mixer = CrossScan(channels, spatial_dims, released, **arguments)
        self.weigh = NeighbourWeights()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        x, y = a.movedim(-1, 1), b.movedim(-1, 1)
        first = self._enhance(x, y, self.conv1).movedim(1, -1)
        second = self._enhance(y, x, self.conv2).movedim(1, -1)
        joined = self.mixer.join(self.norm1(first), self.norm2(second)).movedim(-1, 1)
        return saturate(x + y + joined + self.weigh(joined)).movedim(1, -1)

    def _enhance(self, x: Tensor, other: Tensor, conv: nn.Module) -> Tensor:
        axes = tuple(range(2, x.dim()))
        difference = torch.sigmoid((x - other).mean(axes, keepdim=True))
        return saturate(conv(x) + saturate(difference * (x + other) + x))
