"""Patch embedding and patch merging on grids with channels last."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import is_tracing, saturate


class PatchEmbed(nn.Module):
    """Cut an image into patches and project each to a token.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        channels: channels of a token.
        patch_size: side of a patch.
        norm: normalise the tokens.
        pad: pad the image with zeros to whole patches instead of cropping it.

    Shape:
        x (B, in_channels, *S); returns (B, *S / patch_size, channels).

    Example:
        >>> PatchEmbed(2, 1, 8, 4)(torch.zeros(1, 1, 9, 8)).shape
        torch.Size([1, 3, 2, 8])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: int, patch_size: int, norm: bool = True, pad: bool = True
    ) -> None:
        super().__init__()
        self.patch_size, self.pad = patch_size, pad
        self.proj = Conv[Conv.CONV, spatial_dims](in_channels, channels, patch_size, patch_size)
        self.norm: nn.Module = nn.LayerNorm(channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.pad:
            x = pad_to_multiple(x, self.patch_size, first_axis=2)
        tokens: Tensor = self.norm(saturate(self.proj(saturate(x))).movedim(1, -1))
        return tokens


class PatchMerging(nn.Module):
    """Join neighbouring tokens, two along each axis, and project them to twice the channels.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the input tokens.
        pad: pad an odd grid with a row of zeros instead of cropping a row.

    Shape:
        x (B, *S, channels); returns (B, *S / 2, 2 * channels).

    Example:
        >>> PatchMerging(2, 8)(torch.zeros(1, 5, 4, 8)).shape
        torch.Size([1, 3, 2, 16])
    """

    def __init__(self, spatial_dims: int, channels: int, pad: bool = True) -> None:
        super().__init__()
        self.spatial_dims, self.pad = spatial_dims, pad
        self.norm = nn.LayerNorm(2**spatial_dims * channels)
        self.reduction = nn.Linear(2**spatial_dims * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.pad:
            x = pad_to_multiple(x, 2, first_axis=1)
        halves = [n // 2 for n in x.shape[1:-1]]
        for axis, half in enumerate(halves, start=1):
            x = x.narrow(axis, 0, 2 * half)
        parts = []
        # The authors' order of the neighbours: the first axis changes fastest.
        for offsets in product((0, 1), repeat=self.spatial_dims):
            part = x
            for axis, offset in enumerate(reversed(offsets), start=1):
                part = part[(slice(None),) * axis + (slice(offset, None, 2),)]
            parts.append(part)
        merged: Tensor = self.reduction(self.norm(torch.cat(parts, -1)))
        return merged


def pad_to_multiple(x: Tensor, multiple: int, first_axis: int) -> Tensor:
    """Pad the grid axes, three or two from ``first_axis`` on, with zeros at their ends to multiples of a number."""
    channels_last = first_axis == 1
    axes = range(first_axis, x.dim() - 1 if channels_last else x.dim())
    missing = [-x.shape[axis] % multiple for axis in axes]
    # A trace must hold for sizes that need padding too, so it always records the pad, if of nothing.
    if not any(missing) and not is_tracing():
        return x
    pads = [0, 0] if channels_last else []
    for amount in reversed(missing):
        pads += [0, amount]
    return F.pad(x, pads)
