"""The parts of SegFormer: attention to a shrunken map, an MLP that mixes neighbours, and the decoder of MLPs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.patches import pad_to_multiple
from medmamba_monai.networks.layers.precision import in_float32, saturate


class MixMlp(nn.Module):
    """A linear map, a depthwise convolution of 3x3, GELU and a linear map back.

    SegFormer (arXiv 2105.15203), equation 3 (Mix-FFN).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        hidden: width between the two maps.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> MixMlp(2, 4, 8)(torch.zeros(1, 3, 5, 4)).shape
        torch.Size([1, 3, 5, 4])
    """

    def __init__(self, spatial_dims: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.conv = Conv[Conv.CONV, spatial_dims](hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x: Tensor) -> Tensor:
        middle = saturate(self.conv(saturate(self.fc1(x)).movedim(-1, 1))).movedim(1, -1)
        return saturate(self.fc2(F.gelu(middle)))


class ReducedAttention(nn.Module):
    """Attention of all tokens to the tokens of a smaller map.

    SegFormer (arXiv 2105.15203), equations 1 and 2.

    Args:
        channels: channels of a token, divisible by the heads.
        heads: attention heads.
        reduction: how much smaller each side of the map is that is attended to.

    Shape:
        x (B, H, W, channels); returns the same shape.

    Raises:
        ValueError: when the heads do not divide the channels.

    Example:
        >>> ReducedAttention(4, 2, 2)(torch.zeros(1, 3, 5, 4)).shape
        torch.Size([1, 3, 5, 4])

    Notes:
        Maps that the reduction does not divide are padded with zeros; the authors' code cuts the rest off.
    """

    def __init__(self, channels: int, heads: int, reduction: int = 1) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"heads is {heads}: it must divide the {channels} channels")
        self.heads, self.reduction = heads, reduction
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))
        if reduction > 1:
            self.shrink = nn.Conv2d(channels, channels, reduction, reduction)
            self.norm = nn.LayerNorm(channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        seen = x.flatten(1, 2)
        if self.reduction > 1:
            small = self.shrink(pad_to_multiple(x, self.reduction, first_axis=1).movedim(-1, 1))
            seen = self.norm(small.flatten(2).transpose(1, 2))
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x.flatten(1, 2)), self.key(seen), self.value(seen))
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        result: Tensor = self.proj(mixed).reshape(x.shape)
        return result


class SegFormerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    SegFormer (arXiv 2105.15203), figure 2.

    Args:
        channels: channels of a token.
        heads: attention heads.
        reduction: how much smaller each side of the map is that is attended to.
        mlp_ratio: hidden width of the MLP over the channels.
        drop_path: chance to drop a branch for a sample while training.

    Shape:
        x (B, H, W, channels); returns the same shape.

    Example:
        >>> SegFormerBlock(4, 2, 2)(torch.zeros(1, 3, 5, 4)).shape
        torch.Size([1, 3, 5, 4])
    """

    def __init__(
        self, channels: int, heads: int, reduction: int = 1, mlp_ratio: int = 4, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = ReducedAttention(channels, heads, reduction)
        self.mlp = MixMlp(2, channels, mlp_ratio * channels)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = saturate(x + self.drop_path(in_float32(self.attention, self.norm1(x))))
        return saturate(x + self.drop_path(self.mlp(self.norm2(x))))


class MlpDecoder(nn.Module):
    """Bring all levels to the same channels and the first one's size, join them, and normalise.

    SegFormer (arXiv 2105.15203), equation 4.

    Args:
        dims: channels of the levels, the highest resolution first.
        channels: channels of the result.
        dropout: chance to drop a channel while training.

    Shape:
        maps (B, dims[i], H_i, W_i); returns (B, channels, H_0, W_0).

    Example:
        >>> MlpDecoder([2, 3], 4)([torch.ones(1, 2, 4, 5), torch.ones(1, 3, 2, 3)]).shape
        torch.Size([1, 4, 4, 5])
    """

    def __init__(self, dims: Sequence[int], channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(width, channels) for width in dims)
        self.fuse = nn.Conv2d(channels * len(dims), channels, 1, bias=False)
        self.norm = Norm[Norm.BATCH, 2](channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        levels = []
        for x, linear in zip(maps, self.linears, strict=True):
            y = saturate(linear(x.movedim(1, -1))).movedim(-1, 1)
            levels.append(F.interpolate(y, size=maps[0].shape[2:], mode="bilinear", align_corners=False))
        fused = self.norm(saturate(self.fuse(torch.cat(levels[::-1], 1))))
        result: Tensor = self.dropout(F.relu(fused))
        return result
