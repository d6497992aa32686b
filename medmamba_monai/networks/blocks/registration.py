"""The parts of networks that register a pair of images: features of each, Mamba levels, decoder, displacement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.blocks import DVF2DDF, Warp
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.patches import PatchEmbed, pad_to_multiple
from medmamba_monai.networks.blocks.u_mamba import InstanceNorm
from medmamba_monai.networks.layers.precision import Saturate, in_float32, saturate, without_autocast

# The authors' order of the neighbours that become one token.
_CORNERS = {
    2: ((0, 0), (1, 0), (0, 1), (1, 1)),
    3: ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1)),
}


class Deformation(nn.Module):
    """Integrate a velocity by scaling and squaring and warp images with displacements, both by MONAI's layers.

    Args:
        steps: squarings of the velocity, at least 1.

    Shape:
        velocity and displacement (B, axes, *S) in voxels, image (B, C, *S); all keep their shapes.

    Example:
        >>> deform = Deformation(2)
        >>> deform.integrate(torch.ones(1, 2, 4, 4)).shape
        torch.Size([1, 2, 4, 4])

    Notes:
        Everything is computed in float32 at least. MONAI's layers keep a grid of the last size; it is dropped here,
        so that it never serves another dtype or a trace.
    """

    def __init__(self, steps: int = 7) -> None:
        super().__init__()
        self.squaring = DVF2DDF(num_steps=steps, mode="bilinear", padding_mode="zeros")
        self.sample = Warp(mode="bilinear", padding_mode="zeros")  # type: ignore[no-untyped-call]

    def integrate(self, velocity: Tensor) -> Tensor:
        """The displacement that a stationary velocity makes in unit time."""
        with without_autocast(velocity):
            ddf: Tensor = self.squaring(_wide(velocity))
        self.squaring.warp_layer.ref_grid = None
        return ddf

    def compose(self, outer: Tensor, inner: Tensor) -> Tensor:
        """The displacement of going by the inner one first and by the outer one from there."""
        return self.warp(outer, inner) + inner

    def warp(self, image: Tensor, ddf: Tensor) -> Tensor:
        """The image at every voxel's displaced place, zero outside."""
        with without_autocast(image):
            warped: Tensor = self.sample(_wide(image), _wide(ddf))
        self.sample.ref_grid = None
        return warped


class FeatureUNet(nn.Module):
    """A small U-Net of convolutions and leaky ReLU that gives both images of a pair their features.

    MambaMorph (arXiv 2401.13934), section 2.3, in VoxelMorph's form.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        channels: channels of all levels.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *S).

    Example:
        >>> FeatureUNet(2, 1, 4)(torch.zeros(1, 1, 9, 8)).shape
        torch.Size([1, 4, 9, 8])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int = 16) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.encoder = nn.ModuleList(conv(a, channels, 3, padding=1) for a in (in_channels, channels))
        self.decoder = nn.ModuleList(conv(a, channels, 3, padding=1) for a in (channels, 2 * channels))
        self.last = nn.ModuleList(conv(a, channels, 3, padding=1) for a in (2 * channels, channels))
        self.spatial_dims = spatial_dims

    def forward(self, x: Tensor) -> Tensor:
        pool = F.max_pool2d if self.spatial_dims == 2 else F.max_pool3d
        skips = []
        for conv in self.encoder:
            skips.append(_leaky(conv, x))
            x = pool(skips[-1], 2, ceil_mode=True)
        for conv in self.decoder:
            skip = skips.pop()
            x = torch.cat((F.interpolate(_leaky(conv, x), size=skip.shape[2:], mode="nearest"), skip), 1)
        for conv in self.last:
            x = _leaky(conv, x)
        return x


class CornerMerging(nn.Module):
    """Join neighbouring tokens, two along each axis, and project them to twice the channels.

    Like `PatchMerging`, with the order of the neighbours that TransMorph (arXiv 2111.10480) has.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the input tokens.

    Shape:
        x (B, *S, channels); returns (B, *ceil(S / 2), 2 * channels).

    Example:
        >>> CornerMerging(2, 8)(torch.zeros(1, 5, 4, 8)).shape
        torch.Size([1, 3, 2, 16])
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.corners = _CORNERS[spatial_dims]
        self.norm = nn.LayerNorm(len(self.corners) * channels)
        self.reduction = nn.Linear(len(self.corners) * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_to_multiple(x, 2, first_axis=1)
        parts = [x[(slice(None), *(slice(start, None, 2) for start in corner))] for corner in self.corners]
        merged: Tensor = self.reduction(self.norm(torch.cat(parts, -1)))
        return saturate(merged)


class MorphEncoder(nn.Module):
    """Patches with sinusoidal positions, then levels of a mixer, each merged to the next one's input.

    MambaMorph (arXiv 2401.13934), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the joined images.
        mixers: what works on each level, channels last; each level has twice the channels of the one before.
        dim: channels of the first level.
        patch_size: side of a patch.

    Shape:
        x (B, in_channels, *S); returns the levels' maps (B, dim * 2 ** i, *ceil(S / (patch_size * 2 ** i))).

    Example:
        >>> encoder = MorphEncoder(2, 2, [nn.Identity(), nn.Identity()], 8)
        >>> [tuple(y.shape) for y in encoder(torch.zeros(1, 2, 17, 16))]
        [(1, 8, 5, 4), (1, 16, 3, 2)]
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, mixers: Sequence[nn.Module], dim: int, patch_size: int = 4
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(spatial_dims, in_channels, dim, patch_size)
        self.mixers = nn.ModuleList(mixers)
        widths = [dim * 2**i for i in range(len(mixers))]
        self.merges = nn.ModuleList(CornerMerging(spatial_dims, width) for width in widths[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        tokens = self.patch_embed(x)
        tokens = tokens + sinusoidal_positions(tokens.shape[1:-1], tokens)
        maps = []
        for i, (mixer, norm) in enumerate(zip(self.mixers, self.norms, strict=True)):
            tokens = mixer(self.merges[i - 1](tokens) if i else tokens)
            maps.append(norm(tokens).movedim(-1, 1))
        return maps


def sinusoidal_positions(size: Sequence[int], like: Tensor) -> Tensor:
    """Sines and cosines of each axis' places, one after the other, cut to the tokens' channels: (*size, channels).

    TransMorph (arXiv 2111.10480), after "Attention Is All You Need" (arXiv 1706.03762).

    Example:
        >>> sinusoidal_positions((3, 2), torch.zeros(1, 3, 2, 8)).shape
        torch.Size([3, 2, 8])
    """
    axes, channels = len(size), like.shape[-1]
    width = -(-channels // (2 * axes)) * 2
    rates = 1.0 / 10000 ** (torch.arange(0, width, 2, device=like.device, dtype=like.dtype) / width)
    parts = []
    for axis, length in enumerate(size):
        angles = torch.arange(length, device=like.device, dtype=like.dtype)[:, None] * rates
        table = torch.cat((angles.sin(), angles.cos()), -1)
        shape = [1] * axis + [-1] + [1] * (axes - 1 - axis) + [width]
        parts.append(table.reshape(shape).expand(*size, -1))
    return torch.cat(parts, -1)[..., :channels]


class FlowDecoder(nn.Module):
    """Double the resolution level by level by interpolation, join the skip and convolve twice.

    MambaMorph (arXiv 2401.13934), figure 2 (decoder).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the joined images.
        dims: channels of the encoder's levels, the highest resolution first.
        channels: channels at the images' resolution.

    Shape:
        x (B, in_channels, *S) and the encoder's maps; returns (B, channels, *S).

    Example:
        >>> maps = [torch.zeros(1, 8, 4, 4), torch.zeros(1, 16, 2, 2)]
        >>> FlowDecoder(2, 2, [8, 16], 4)(torch.zeros(1, 2, 16, 15), maps).shape
        torch.Size([1, 4, 16, 15])
    """

    def __init__(self, spatial_dims: int, in_channels: int, dims: Sequence[int], channels: int = 16) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        half = dims[0] // 2
        self.skip_half = _conv_norm(spatial_dims, in_channels, half)
        self.skip_full = _conv_norm(spatial_dims, in_channels, channels)
        widths = [*reversed(dims), half, channels]
        skips = [*reversed(dims[:-1]), half, channels]
        self.ups = nn.ModuleList(
            nn.Sequential(_conv_norm(spatial_dims, a + skip, b), _conv_norm(spatial_dims, b, b))
            for (a, b), skip in zip(pairwise(widths), skips, strict=True)
        )

    def forward(self, x: Tensor, maps: Sequence[Tensor]) -> Tensor:
        pool = F.avg_pool2d if self.spatial_dims == 2 else F.avg_pool3d
        # padded by hand: PyTorch refuses to pool maps that are smaller than the window
        halved = pool(F.pad(x, (1, 1) * self.spatial_dims), 3, 2)
        skips = [*reversed(maps[:-1]), self.skip_half(halved), self.skip_full(x)]
        mode = "bilinear" if self.spatial_dims == 2 else "trilinear"
        y = maps[-1]
        for up, skip in zip(self.ups, skips, strict=True):
            y = F.interpolate(y, size=skip.shape[2:], mode=mode, align_corners=False)
            y = up(torch.cat((y, skip), 1))
        return y


def _conv_norm(spatial_dims: int, in_channels: int, channels: int) -> nn.Sequential:
    conv = Conv[Conv.CONV, spatial_dims](in_channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, Saturate(), InstanceNorm(channels, affine=False), nn.LeakyReLU(0.01))


def _leaky(conv: nn.Module, x: Tensor) -> Tensor:
    return F.leaky_relu(saturate(in_float32(conv, x)), 0.2)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.element_size() < 4 else x
