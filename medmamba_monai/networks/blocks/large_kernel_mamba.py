"""The parts of LKM-UNet: bidirectional Mamba inside large windows of a map, and over a pooled map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.blocks.u_mamba import AveragePool
from medmamba_monai.networks.layers.mamba import Mamba, project
from medmamba_monai.networks.layers.precision import is_tracing, saturate, without_autocast


class InnerMamba(Mamba):
    """A Mamba layer that ends before its output projection: (B, d_model, L) to (B, d_inner, L).

    Example:
        >>> InnerMamba(4)(torch.zeros(1, 4, 6)).shape
        torch.Size([1, 8, 6])
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: float = 2) -> None:
        super().__init__(d_model, d_state, d_conv, expand)
        del self.out_proj

    def forward(self, x: Tensor) -> Tensor:
        return self.mix_inner(x)


class TwoWayMamba(nn.Module):
    """Norm, one Mamba forwards and another backwards, one projection of their sum.

    LKM-UNet (arXiv 2403.07332), section 2.3 (bidirectional Mamba).

    Args:
        channels: channels of a token.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width over the channels.

    Shape:
        x (B, channels, L); returns the same shape.

    Example:
        >>> TwoWayMamba(4)(torch.zeros(1, 4, 6)).shape
        torch.Size([1, 4, 6])
    """

    def __init__(self, channels: int, d_state: int = 16, d_conv: int = 4, expand: float = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.forwards = InnerMamba(channels, d_state, d_conv, expand)
        self.backwards = InnerMamba(channels, d_state, d_conv, expand)
        self.out_proj = nn.Linear(self.forwards.d_inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return project(self.out_proj, self.forwards(tokens) + self.backwards(tokens.flip(-1)).flip(-1))


class LargeKernelMamba(nn.Module):
    """Mix a map inside large windows, then as a whole at a lower resolution, each beside the identity.

    LKM-UNet (arXiv 2403.07332), section 2.2 (pixel-level and patch-level SSM).

    Args:
        channels: channels of the map.
        window: sides of the windows, one number an axis.
        pool: side of the squares that are averaged to one token of the whole map.
        lattice: as in the authors' code, take the voxels at the same place of every window as a sequence instead of
            those of one window; and where windows or squares do not divide the map, take the whole map instead.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width over the channels.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> LargeKernelMamba(4, (5, 5), 2)(torch.zeros(1, 4, 7, 10)).shape
        torch.Size([1, 4, 7, 10])

    Notes:
        It computes in float32 whatever autocast asks, as the authors' code does.
    """

    def __init__(
        self,
        channels: int,
        window: Sequence[int],
        pool: int,
        lattice: bool = False,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        self.window, self.lattice = tuple(window), lattice
        self.squares = (pool,) * len(self.window)
        self.pixel = TwoWayMamba(channels, d_state, d_conv, expand)
        self.pool = AveragePool(self.squares)
        self.patch = TwoWayMamba(channels, d_state, d_conv, expand)

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):
            y = x.float() if x.element_size() < 4 else x
            y = y + self._mix_windows(y)
            y = y + self._mix_pooled(y)
        return saturate(y)

    def _mix_windows(self, x: Tensor) -> Tensor:
        size, sides = x.shape[2:], self.window
        if self.lattice and not _divides(sides, size):
            whole: Tensor = self.pixel(x.flatten(2))
            return whole.reshape(x.shape)
        missing = [-n % side for n, side in zip(size, sides, strict=True)]
        # a trace must hold for sizes that need padding too
        if any(missing) or is_tracing():
            x = F.pad(x, [amount for axis in reversed(missing) for amount in (0, axis)])
        dims = len(sides)
        counts = [n // side for n, side in zip(x.shape[2:], sides, strict=True)]
        cells = x.reshape(*x.shape[:2], *(n for pair in zip(counts, sides, strict=True) for n in pair))
        count_axes, side_axes = [2 + 2 * d for d in range(dims)], [3 + 2 * d for d in range(dims)]
        groups, places = (side_axes, count_axes) if self.lattice else (count_axes, side_axes)
        order = [0, *groups, 1, *places]
        grouped = cells.permute(order)
        mixed: Tensor = self.pixel(grouped.flatten(0, dims).flatten(2)).reshape(grouped.shape)
        back = [order.index(axis) for axis in range(len(order))]
        y = mixed.permute(back).reshape(x.shape)
        return crop(y, size, first_axis=2)

    def _mix_pooled(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        if self.squares[0] == 1 or (self.lattice and not _divides(self.squares, size)):
            whole: Tensor = self.patch(x.flatten(2))
            return whole.reshape(x.shape)
        small = self.pool(x)
        y: Tensor = self.patch(small.flatten(2)).reshape(small.shape)
        for axis, side in enumerate(self.squares, start=2):
            y = y.repeat_interleave(side, axis)
        return crop(y, size, first_axis=2)


def _divides(sides: Sequence[int], size: torch.Size) -> bool:
    return all(n % side == 0 for n, side in zip(size, sides, strict=True))
