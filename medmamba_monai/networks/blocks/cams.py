"""The parts of CAMS-Net: Mamba over places and Mamba over channels, without convolution and attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import is_tracing, saturate, without_autocast

# beyond it the variance in a norm leaves float32's range
_LIMIT = 2.0**15


class ProjectedMamba(Mamba):
    """A Mamba layer whose output has another width: (B, L, d_model) to (B, L, out_channels).

    Example:
        >>> ProjectedMamba(4, 6)(torch.zeros(1, 3, 4)).shape
        torch.Size([1, 3, 6])

    Notes:
        It computes in float32 whatever autocast asks; results beyond half of float16's range are clipped, since no norm
        stands in front.
    """

    def __init__(self, d_model: int, out_channels: int, d_state: int = 2, d_conv: int = 4, expand: float = 1) -> None:
        super().__init__(d_model, d_state, d_conv, expand)
        self.out_proj = nn.Linear(self.d_inner, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):
            y = super().forward(x.float() if x.element_size() < 4 else x)
        return y.clamp(-_LIMIT, _LIMIT)


class ActivatedLinear(nn.Sequential):
    """A linear map of the last axis, SiLU and dropout.

    Shape:
        x (..., in_channels); returns (..., channels).

    Example:
        >>> ActivatedLinear(4, 6)(torch.zeros(1, 3, 4)).shape
        torch.Size([1, 3, 6])
    """

    def __init__(self, in_channels: int, channels: int, dropout: float = 0.1) -> None:
        super().__init__(nn.Linear(in_channels, channels), nn.SiLU(), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        for part in self:
            x = part(x)
        return saturate(x)


class FactorizedMamba(nn.Module):
    """Two narrow Mamba layers over the places with a linear map between them.

    CAMS-Net (arXiv 2406.05786), section 3.2 (linearly interconnected factorized Mamba) as its channel aggregator.

    Args:
        in_channels: channels of a token.
        channels: channels of the result.
        dropout: chance to drop a number while training.
        mamba: d_state, d_conv and expand.
        is_last: leave out norms, activation and dropout, as in front of logits.

    Shape:
        x (B, L, in_channels); returns (B, L, channels).

    Example:
        >>> FactorizedMamba(4, 6)(torch.zeros(1, 3, 4)).shape
        torch.Size([1, 3, 6])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        dropout: float = 0.1,
        mamba: tuple[int, int, float] = (2, 4, 1),
        is_last: bool = False,
    ) -> None:
        super().__init__()
        self.mamba1, self.mamba2 = (
            ProjectedMamba(in_channels, channels, *mamba),
            ProjectedMamba(channels, channels, *mamba),
        )
        self.norm1: nn.Module = nn.Identity() if is_last else nn.LayerNorm(channels)
        self.norm2: nn.Module = nn.Identity() if is_last else nn.LayerNorm(channels)
        self.linear: nn.Module = nn.Linear(channels, channels)
        if not is_last:
            self.linear = ActivatedLinear(channels, channels, dropout)
        self.dropout = nn.Dropout(0.0 if is_last else dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(self.norm1(self.mamba1(x)))
        result: Tensor = self.dropout(self.norm2(self.mamba2(saturate(y))))
        return result


class SpatialAggregator(nn.Module):
    """Mamba along the channels, each of which is a token with one number a place, beside a linear map of the places.

    CAMS-Net (arXiv 2406.05786), section 3.3 (spatial aggregator).

    Args:
        in_channels: channels of the map.
        channels: channels of the result.
        grid: size of the map that the layers are made for; maps of other sizes are resized to it and back.
        dropout: chance to drop a number while training.
        mamba: d_state, d_conv and expand.

    Shape:
        x (B, *S, in_channels), channels last; returns (B, *S, channels).

    Example:
        >>> SpatialAggregator(4, 6, (3, 3))(torch.zeros(1, 5, 4, 4)).shape
        torch.Size([1, 5, 4, 6])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        grid: Sequence[int],
        dropout: float = 0.1,
        mamba: tuple[int, int, float] = (2, 4, 1),
    ) -> None:
        super().__init__()
        self.grid = tuple(grid)
        places = torch.Size(self.grid).numel()
        self.mamba, self.norm = ProjectedMamba(places, places, *mamba), nn.LayerNorm(places)
        self.linear = ActivatedLinear(in_channels, channels, dropout)
        self.places = ActivatedLinear(places, places, dropout)
        self.channels = ActivatedLinear(in_channels, channels, dropout)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[1:-1]
        tokens = self._resize(x.movedim(-1, 1), self.grid).flatten(2)
        mixed = self._back(self.norm(self.mamba(tokens)), size)
        return saturate(self.linear(mixed) + self.channels(self._back(self.places(tokens), size)))

    def _back(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        return self._resize(tokens.unflatten(2, self.grid), size).movedim(1, -1)

    def _resize(self, x: Tensor, size: Sequence[int]) -> Tensor:
        if tuple(x.shape[2:]) == tuple(size) and not is_tracing():
            return x
        mode = "bilinear" if len(self.grid) == 2 else "trilinear"
        return F.interpolate(x, size=tuple(size), mode=mode, align_corners=False)


class Aggregator(nn.Module):
    """A linear map, the channel aggregator and where a grid is given the spatial one, side by side.

    CAMS-Net (arXiv 2406.05786), figure 2.

    Args:
        in_channels: channels of the map.
        channels: channels of the result.
        grid: size of the map for the spatial aggregator, or None for none.
        dropout: chance to drop a number while training.
        mamba: d_state, d_conv and expand.

    Shape:
        x (B, *S, in_channels), channels last; returns (B, *S, channels).

    Example:
        >>> Aggregator(4, 6, (3, 3))(torch.zeros(1, 5, 4, 4)).shape
        torch.Size([1, 5, 4, 6])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        grid: Sequence[int] | None = None,
        dropout: float = 0.1,
        mamba: tuple[int, int, float] = (2, 4, 1),
    ) -> None:
        super().__init__()
        self.linear = ActivatedLinear(in_channels, channels, dropout)
        self.channel = FactorizedMamba(in_channels, channels, dropout, mamba)
        self.spatial = None if grid is None else SpatialAggregator(in_channels, channels, grid, dropout, mamba)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x) + self.channel(x.flatten(1, -2)).reshape(*x.shape[:-1], -1)
        if self.spatial is not None:
            y = y + self.spatial(x)
        return saturate(self.dropout(y))


class TwoWayAggregator(nn.Module):
    """The same aggregator on the map and on the map turned around, added up, with SiLU.

    CAMS-Net (arXiv 2406.05786), section 3.4 (bidirectional scan with shared weights).

    Args:
        aggregator: what is applied twice, channels last.

    Shape:
        x (B, *S, in_channels); returns (B, *S, channels).

    Example:
        >>> TwoWayAggregator(Aggregator(4, 6))(torch.zeros(1, 5, 3, 4)).shape
        torch.Size([1, 5, 3, 6])
    """

    def __init__(self, aggregator: nn.Module) -> None:
        super().__init__()
        self.aggregator = aggregator

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.dim() - 1))
        turned = self.aggregator(x.flip(axes)).flip(axes)
        return F.silu(saturate(self.aggregator(x) + turned))
