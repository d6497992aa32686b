"""Decoders of U-shaped networks: one that expands tokens, one of transposed convolutions and residual blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice
from medmamba_monai.networks.blocks.patches import PatchExpand, crop
from medmamba_monai.networks.blocks.u_mamba import ResidualConvBlock
from medmamba_monai.networks.layers.precision import in_float32, saturate


class ExpandDecoder(nn.Module):
    """Double the resolution level by level by expanding tokens, joining the encoder's grids.

    VM-UNet (arXiv 2402.02491), figure 1, adds a grid of the same resolution before it expands; Mamba-UNet
    (arXiv 2402.05079), figure 2, expands and then concatenates and projects.

    Args:
        spatial_dims: 2 or 3.
        dims: channels of the levels, the highest resolution first.
        stages: what works on each level after it was joined, from the lowest resolution but one up.
        skip: "add" or "concat".
        large_kernel: mix neighbours while expanding, see `PatchExpand`.

    Shape:
        x (B, *S_n, dims[-1]) and grids (B, *S_i, dims[i]), one a level; returns one grid a stage, in their order.

    Raises:
        ValueError: when the skip is of another kind or there are less than two levels.

    Example:
        >>> decoder = ExpandDecoder(2, [4, 8], [nn.Identity()])
        >>> grids = [torch.zeros(1, 5, 4, 4), torch.zeros(1, 3, 2, 8)]
        >>> decoder(grids[1], grids)[0].shape
        torch.Size([1, 5, 4, 4])
    """

    def __init__(
        self,
        spatial_dims: int,
        dims: Sequence[int],
        stages: Sequence[nn.Module],
        skip: str = "concat",
        large_kernel: bool = False,
    ) -> None:
        super().__init__()
        check_choice("skip", skip, ("add", "concat"))
        if len(dims) < 2:
            raise ValueError(f"dims is {list(dims)}: a decoder needs at least two stages")
        self.skip = skip
        self.stages = nn.ModuleList(stages)
        levels = list(reversed(range(len(dims) - 1)))
        self.expands = nn.ModuleList(
            PatchExpand(spatial_dims, dims[i + 1], dims[i], 2, large_kernel=large_kernel) for i in levels
        )
        self.fuses = nn.ModuleList(nn.Linear(2 * dims[i], dims[i]) for i in levels if skip == "concat")

    def forward(self, x: Tensor, grids: Sequence[Tensor]) -> list[Tensor]:
        results = []
        for i, (expand, stage) in enumerate(zip(self.expands, self.stages, strict=True)):
            target = grids[-2 - i]
            if self.skip == "add":
                x = saturate(x + grids[-1 - i])
            x = expand(x, target.shape[1:-1])
            if self.skip == "concat":
                x = saturate(self.fuses[i](torch.cat((x, target), -1)))
            x = stage(x)
            results.append(x)
        return results


class ExpandHead(nn.Module):
    """Expand the tokens of patches to pixels and classify each.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        hidden: channels of a pixel.
        out_channels: classes.
        patch_size: pixels along a side of a patch.
        large_kernel: mix neighbours while expanding.
        bias: give the last convolution a bias.

    Shape:
        x (B, *S, channels) and the image's size; returns logits (B, out_channels, *size).

    Example:
        >>> ExpandHead(2, 8, 4, 3, 4)(torch.zeros(1, 3, 2, 8), (10, 8)).shape
        torch.Size([1, 3, 10, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        hidden: int,
        out_channels: int,
        patch_size: int,
        large_kernel: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.expand = PatchExpand(spatial_dims, channels, hidden, patch_size, large_kernel)
        self.conv = Conv[Conv.CONV, spatial_dims](hidden, out_channels, 1, bias=bias)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        pixels = self.expand(x, size).movedim(-1, 1)
        return saturate(in_float32(self.conv, pixels))


def unetr_block(spatial_dims: int, in_channels: int, channels: int) -> ResidualConvBlock:
    """The residual block of UNETR: no biases, instance norms without weights, a projection where channels change.

    Example:
        >>> unetr_block(2, 1, 4)(torch.zeros(1, 1, 9, 8)).shape
        torch.Size([1, 4, 9, 8])
    """
    ones = (1,) * spatial_dims
    kernel, norm = (3,) * spatial_dims, ("instance", {"affine": False})
    return ResidualConvBlock(spatial_dims, in_channels, channels, kernel, ones, "pool", norm, bias=False)


class UnetrUp(nn.Module):
    """Double the resolution by a transposed convolution, concatenate the skip and apply a residual block.

    UNETR (arXiv 2103.10504), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        skip_channels: channels of the skip.
        channels: channels of the output.

    Shape:
        x (B, in_channels, *S), skip (B, skip_channels, *T) with T at most 2 * S; returns (B, channels, *T).

    Example:
        >>> UnetrUp(2, 8, 4, 4)(torch.zeros(1, 8, 3, 2), torch.zeros(1, 4, 5, 4)).shape
        torch.Size([1, 4, 5, 4])
    """

    def __init__(self, spatial_dims: int, in_channels: int, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.up = Conv[Conv.CONVTRANS, spatial_dims](in_channels, channels, 2, 2, bias=False)
        self.block = unetr_block(spatial_dims, channels + skip_channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        up = crop(saturate(self.up(x)), skip.shape[2:], first_axis=2)
        joined: Tensor = self.block(torch.cat((up, skip), 1))
        return joined


class UnetrDecoder(nn.Module):
    """Double the resolution from the deepest map to the image, with a residual block on every skip.

    Swin-UMamba (arXiv 2402.03302), figure 1; UNETR (arXiv 2103.10504), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        widths: channels of the maps, the highest resolution, half of the image's, first.

    Shape:
        image (B, in_channels, *S) and maps (B, widths[i], *S / 2 ** (i + 1)); returns the maps of all levels but the
        deepest, the lowest resolution first, and last one at the image's resolution with widths[0] channels.

    Example:
        >>> decoder = UnetrDecoder(2, 1, [4, 8])
        >>> image, maps = torch.zeros(1, 1, 8, 7), [torch.zeros(1, 4, 4, 4), torch.zeros(1, 8, 2, 2)]
        >>> [tuple(y.shape) for y in decoder(image, maps)]
        [(1, 8, 4, 4), (1, 4, 8, 7)]
    """

    def __init__(self, spatial_dims: int, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        before = (in_channels, *widths)
        self.skips = nn.ModuleList(unetr_block(spatial_dims, a, b) for a, b in zip(before, widths, strict=False))
        deeper = (*widths[1:], widths[-1])
        pairs = list(zip(deeper, widths, strict=True))
        self.ups = nn.ModuleList(UnetrUp(spatial_dims, a, b, b) for a, b in reversed(pairs))
        self.last = unetr_block(spatial_dims, widths[0], widths[0])

    def forward(self, image: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        skips = [skip(given) for skip, given in zip(self.skips, (image, *maps), strict=False)]
        x, results = maps[-1], []
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = up(x, skip)
            results.append(x)
        return [*results[:-1], self.last(x)]
