"""Patch embedding, merging and expanding on grids with channels last."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice
from medmamba_monai.networks.layers.precision import Saturate, is_tracing, saturate


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
        out_channels: channels of the output tokens; twice those of the input if None.

    Shape:
        x (B, *S, channels); returns (B, *S / 2, out_channels).

    Example:
        >>> PatchMerging(2, 8)(torch.zeros(1, 5, 4, 8)).shape
        torch.Size([1, 3, 2, 16])
    """

    def __init__(self, spatial_dims: int, channels: int, pad: bool = True, out_channels: int | None = None) -> None:
        super().__init__()
        self.spatial_dims, self.pad = spatial_dims, pad
        self.norm = nn.LayerNorm(2**spatial_dims * channels)
        self.reduction = nn.Linear(2**spatial_dims * channels, out_channels or 2 * channels, bias=False)

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


class OverlapPatchEmbed(nn.Module):
    """Two convolutions of 3x3, each with half of the patch size's stride, norms after both and GELU between them.

    VMamba (arXiv 2401.10166), the stem of its later presets.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        channels: channels of a token.
        patch_size: stride of both together, 4 or 1.
        norm: "layer" or "batch".
        bias: give the convolutions a bias.

    Shape:
        x (B, in_channels, *S); returns (B, *ceil(S / patch_size), channels).

    Raises:
        ValueError: when the patch size is another.

    Example:
        >>> OverlapPatchEmbed(2, 1, 8, 4)(torch.zeros(1, 1, 9, 8)).shape
        torch.Size([1, 3, 2, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: int,
        patch_size: int,
        norm: str = "layer",
        bias: bool = True,
    ) -> None:
        super().__init__()
        if patch_size not in (1, 4):
            raise ValueError(f"patch_size is {patch_size}: the overlapping stem has a stride of 1 or 4 in all")
        stride = 2 if patch_size == 4 else 1
        conv = Conv[Conv.CONV, spatial_dims]
        self.conv1 = conv(in_channels, channels // 2, 3, stride, 1, bias=bias)
        self.norm1 = token_norm(norm, channels // 2)
        self.conv2 = conv(channels // 2, channels, 3, stride, 1, bias=bias)
        self.norm2 = token_norm(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(saturate(self.conv1(saturate(x))).movedim(1, -1))
        x = saturate(self.conv2(F.gelu(x).movedim(-1, 1))).movedim(1, -1)
        tokens: Tensor = self.norm2(x)
        return tokens


class ConvMerging(nn.Module):
    """Halve a grid by a convolution of 3x3 with stride 2, with a norm after it.

    VMamba (arXiv 2401.10166), between the stages of its later presets.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the input tokens.
        out_channels: channels of the output tokens.
        norm: "layer" or "batch".

    Shape:
        x (B, *S, channels); returns (B, *ceil(S / 2), out_channels).

    Example:
        >>> ConvMerging(2, 8, 16)(torch.zeros(1, 5, 4, 8)).shape
        torch.Size([1, 3, 2, 16])
    """

    def __init__(self, spatial_dims: int, channels: int, out_channels: int, norm: str = "layer") -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](channels, out_channels, 3, 2, 1)
        self.norm = token_norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        merged: Tensor = self.norm(saturate(self.conv(x.movedim(-1, 1))).movedim(1, -1))
        return merged


class PatchExpand(nn.Module):
    """Widen each token to a square of tokens with a norm after it: the reverse of merging and of embedding.

    VM-UNet (arXiv 2402.02491), section 3.2; "large_kernel" as MSVM-UNet (arXiv 2408.13735), section 3.3: a pointwise
    convolution, batch norm, ReLU and a depthwise convolution of 3x3 in place of the linear map.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the input tokens.
        out_channels: channels of the output tokens.
        scale: tokens along a side of the square.
        large_kernel: mix neighbours before the tokens are cut out.

    Shape:
        x (B, *S, channels); returns (B, *S * scale, out_channels), cut to ``size`` where one is given.

    Example:
        >>> PatchExpand(2, 8, 4)(torch.zeros(1, 3, 2, 8), (5, 4)).shape
        torch.Size([1, 5, 4, 4])
    """

    def __init__(
        self, spatial_dims: int, channels: int, out_channels: int, scale: int = 2, large_kernel: bool = False
    ) -> None:
        super().__init__()
        self.spatial_dims, self.scale = spatial_dims, scale
        width = scale**spatial_dims * out_channels
        self.expand: nn.Module = nn.Linear(channels, width, bias=False)
        if large_kernel:
            conv = Conv[Conv.CONV, spatial_dims]
            norm = Norm[Norm.BATCH, spatial_dims](width)
            mix = conv(width, width, 3, padding=1, groups=width)
            self.expand = nn.Sequential(conv(channels, width, 1), Saturate(), norm, nn.ReLU(), mix)
        self.large_kernel = large_kernel
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        dims, scale = self.spatial_dims, self.scale
        wide = self.expand(x.movedim(-1, 1)).movedim(1, -1) if self.large_kernel else self.expand(x)
        cells = saturate(wide).unflatten(-1, (*(scale,) * dims, -1))
        # the axes of the grid, each followed by the axis of the square inside a token
        order = [axis for d in range(dims) for axis in (1 + d, 1 + dims + d)]
        y = cells.permute(0, *order, 2 * dims + 1)
        y = y.reshape(x.shape[0], *(n * scale for n in x.shape[1:-1]), y.shape[-1])
        return crop(self.norm(y), size, first_axis=1) if size is not None else self.norm(y)


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm of grids with channels last.

    Shape:
        x (B, *S, channels); returns the same shape.

    Example:
        >>> TokenBatchNorm(4)(torch.zeros(2, 3, 5, 4)).shape
        torch.Size([2, 3, 5, 4])
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, -2)).reshape(x.shape)


def token_norm(name: str, channels: int) -> nn.Module:
    """A norm of tokens by name, "layer" or "batch".

    Example:
        >>> token_norm("layer", 4).normalized_shape
        (4,)
    """
    check_choice("norm", name, ("layer", "batch"))
    return nn.LayerNorm(channels) if name == "layer" else TokenBatchNorm(channels)


def crop(x: Tensor, size: Sequence[int], first_axis: int) -> Tensor:
    """Keep the first places of the grid axes from ``first_axis`` on.

    Example:
        >>> crop(torch.zeros(1, 4, 4, 2), (3, 4), first_axis=1).shape
        torch.Size([1, 3, 4, 2])
    """
    kept: Tensor = x[(slice(None),) * first_axis + tuple(slice(n) for n in size)]
    return kept


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
