"""P-Mamba's two branches: Perona-Malik diffusion on wavelets beside Vim's layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.patches import pad_to_multiple
from medmamba_monai.networks.blocks.positions import resize_positions, rotate
from medmamba_monai.networks.blocks.u_mamba import ResidualConvBlock
from medmamba_monai.networks.layers.precision import is_tracing, saturate, without_autocast
from medmamba_monai.networks.layers.vim import VimMamba


def haar_gradients(x: Tensor) -> list[Tensor]:
    """The Haar wavelet bands that are high along one axis and low along all others, an estimate of the gradient.

    Args:
        x: maps (B, C, *S); an odd axis is continued by its last place.

    Shape:
        Returns one tensor (B, C, *ceil(S / 2)) an axis.

    Example:
        >>> [band.item() for band in haar_gradients(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))]
        [0.0, 1.0]
    """
    missing = [n % 2 for n in x.shape[2:]]
    # as in pad_to_multiple: a trace holds for every size
    if any(missing) or is_tracing():
        x = F.pad(x, [amount for axis in reversed(missing) for amount in (0, axis)], mode="replicate")
    dims = x.dim() - 2
    corners = []
    for offsets in product((0, 1), repeat=dims):
        corner = x
        for axis, offset in enumerate(offsets, start=2):
            corner = corner[(slice(None),) * axis + (slice(offset, None, 2),)]
        corners.append((offsets, corner))
    bands = []
    for axis in range(dims):
        parts = [corner if offsets[axis] else -corner for offsets, corner in corners]
        bands.append(torch.stack(parts).sum(0) / 2 ** (dims / 2))
    return bands


def perona_malik(x: Tensor, k: float = 1.0) -> Tensor:
    """One step of anisotropic diffusion, the divergence of g * gradient with g = 1 / (1 + (|gradient| / k) ** 2).

    Perona and Malik 1990, as P-Mamba (arXiv 2402.08506), equations 5 to 8, applies it to Haar bands.

    Args:
        x: maps (B, C, *S).
        k: gradients far above it are kept, those far below are smoothed.

    Shape:
        Returns (B, C, *ceil(S / 2)).

    Example:
        >>> perona_malik(torch.ones(1, 1, 4, 4)).abs().max().item()
        0.0
    """
    bands = haar_gradients(x)
    keep = 1 / (1 + torch.stack([band.square() for band in bands]).sum(0) / k**2)
    return torch.stack([_slope(keep * band, axis) for axis, band in enumerate(bands, start=2)]).sum(0)


def _slope(x: Tensor, axis: int) -> Tensor:
    """Central differences along an axis; no flux crosses its ends."""
    length = x.shape[axis]
    after = torch.cat((x.narrow(axis, 1, length - 1), x.narrow(axis, length - 1, 1)), axis)
    before = torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, length - 1)), axis)
    return (after - before) / 2


class DiffusionStage(nn.Module):
    """Embed patches and run Vim's layers, each mixed with the diffused patches by a weight of the image.

    P-Mamba (arXiv 2402.08506), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of a token, divisible by twice the spatial dimensions.
        patch_size: side of a patch.
        grid: size of the grid that the positions are learned for.
        drop_paths: chance to drop a branch, one for each layer.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *ceil(S / patch_size)).

    Raises:
        ValueError: when the channels cannot be rotated.

    Example:
        >>> DiffusionStage(2, 1, 8, 4, (2, 2), [0.0])(torch.zeros(2, 1, 9, 8)).shape
        torch.Size([2, 8, 3, 2])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: int,
        patch_size: int,
        grid: Sequence[int],
        drop_paths: Sequence[float],
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        if channels % (2 * spatial_dims):
            raise ValueError(f"channels is {channels}: tokens are rotated; use a multiple of {2 * spatial_dims}")
        self.patch_size, self.grid = patch_size, tuple(grid)
        self.patch_embed = Conv[Conv.CONV, spatial_dims](in_channels, channels, patch_size, patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, int(torch.Size(self.grid).numel()), channels))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        ones = (1,) * spatial_dims
        self.local = ResidualConvBlock(
            spatial_dims, channels, channels, (3,) * spatial_dims, ones, "identity", "batch", "relu", bias=False
        )
        self.gate = nn.Linear(channels, 1)
        self.mixers = nn.ModuleList(VimMamba(channels, d_state, d_conv, expand, mean=False) for _ in drop_paths)
        self.norms = nn.ModuleList(nn.RMSNorm(channels, eps=1e-5) for _ in drop_paths)
        self.drop_paths = nn.ModuleList(DropPath(rate) if rate > 0 else nn.Identity() for rate in drop_paths)
        self.norm = nn.RMSNorm(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        patches = saturate(self.patch_embed(saturate(pad_to_multiple(x, self.patch_size, first_axis=2))))
        size = patches.shape[2:]
        with without_autocast(x):
            tokens = patches.flatten(2).transpose(1, 2)
            tokens = tokens.float() if tokens.element_size() < 4 else tokens
            tokens = tokens + resize_positions(self.pos_embed, self.grid, size)
            weight = torch.sigmoid(self.gate(tokens.mean(1, keepdim=True)))
            diffused = perona_malik(tokens.transpose(1, 2).unflatten(2, size))
            mode = "bilinear" if diffused.dim() == 4 else "trilinear"
            diffused = F.interpolate(diffused, size=size, mode=mode, align_corners=True)
        local = weight * self.local(diffused).flatten(2).transpose(1, 2)
        found: Tensor = self._mix(tokens, local, weight, size).transpose(1, 2).unflatten(2, size)
        return found

    def _mix(self, y: Tensor, local: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
        """The layers: each norms the running sum, mixes it, and adds the weighted mean of itself and the diffusion."""
        residual = torch.zeros_like(y)
        for mixer, norm, drop in zip(self.mixers, self.norms, self.drop_paths, strict=True):
            residual = rotate(residual, size, self.grid) + drop(rotate(y, size, self.grid))
            y = saturate(mixer(norm(residual)))
            y = saturate(y + drop(local + (1 - weight) * y))
        last: Tensor = self.norm(residual + y)
        return last
