"""The parts of GFE-Mamba: a U-Net's residual blocks, a transformer over a volume laid out as a plane, attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks.mlp import MLPBlock
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import autocast_dtype, in_float32, saturate, without_autocast


class NormedResidual(nn.Module):
    """relu(x + conv(norm(relu(conv(norm(x)))))), behind a pointwise convolution where the channels change.

    Residual 3D U-Net (arXiv 1706.00120), its block with group norms in front of the convolutions.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the map.
        channels: channels of the result: a multiple of 8, or less than 8.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *S).

    Raises:
        ValueError: when the channels do not divide into 8 groups.

    Example:
        >>> NormedResidual(2, 1, 8)(torch.zeros(1, 1, 5, 6)).shape
        torch.Size([1, 8, 5, 6])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int) -> None:
        super().__init__()
        if channels > 8 and channels % 8:
            raise ValueError(f"features has {channels}: give multiples of 8, or numbers below 8")
        conv, groups = Conv[Conv.CONV, spatial_dims], 8 if channels >= 8 else 1
        self.widen = conv(in_channels, channels, 1) if in_channels != channels else nn.Identity()
        self.norm1, self.norm2 = nn.GroupNorm(groups, channels), nn.GroupNorm(groups, channels)
        self.conv1, self.conv2 = (conv(channels, channels, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = saturate(in_float32(self.widen, x))
        y = F.relu(saturate(in_float32(self.conv1, self.norm1(x))))
        return F.relu(saturate(x + saturate(in_float32(self.conv2, self.norm2(y)))))


class Attention(nn.Module):
    """Softmax attention of tokens to a context; the heads may be of any width.

    Args:
        channels: channels of a token and of the result.
        context_channels: channels of the context's tokens.
        heads: number of heads.
        head_channels: channels of a head.
        bias: give queries, keys and values a bias.
        dropout: chance to drop a weight, and a number of the result, while training.

    Shape:
        x (B, L, channels) and context (B, M, context_channels); returns (B, L, channels).

    Example:
        >>> Attention(4, 6, 2, 3)(torch.zeros(1, 5, 4), torch.zeros(1, 7, 6)).shape
        torch.Size([1, 5, 4])
    """

    def __init__(
        self,
        channels: int,
        context_channels: int,
        heads: int,
        head_channels: int,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_channels
        self.query = nn.Linear(channels, inner, bias=bias)
        self.key, self.value = (nn.Linear(context_channels, inner, bias=bias) for _ in range(2))
        self.proj, self.dropout = nn.Linear(inner, channels), nn.Dropout(dropout)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        if autocast_dtype(x) != torch.float16:
            return self._attend(x, context)
        # products of queries and keys leave float16's range
        with without_autocast(x):
            return self._attend(x.float(), context.float())

    def _attend(self, x: Tensor, context: Tensor) -> Tensor:
        given = (self.query(x), self.key(context), self.value(context))
        query, key, value = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in given)
        drop = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=drop)
        result: Tensor = self.dropout(self.proj(mixed.transpose(1, 2).flatten(2)))
        return result


class PlaneLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): a layer of a vision transformer.

    Args:
        dim: channels of a token.
        heads: number of heads.
        head_channels: channels of a head.
        mlp_dim: channels inside the MLP.
        dropout: chance to drop a number while training.

    Shape:
        x (B, L, dim); returns the same shape.

    Example:
        >>> PlaneLayer(4, 2, 3, 8)(torch.zeros(1, 5, 4)).shape
        torch.Size([1, 5, 4])
    """

    def __init__(self, dim: int, heads: int, head_channels: int, mlp_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, dim, heads, head_channels, bias=False, dropout=dropout)
        self.mlp = MLPBlock(dim, mlp_dim, dropout)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = saturate(x + self.attention(normed, normed))
        return saturate(x + saturate(in_float32(self.mlp, self.norm2(x))))


class PlaneTransformer(nn.Module):
    """A vision transformer that gives a map back; a volume is laid out as a plane for it.

    GFE-Mamba (arXiv 2407.15719), the transformer in the middle of its generator. Of the volume's first axis, ``fold``
    parts become neighbours along the rows, and what is inside a part becomes neighbours along the columns.

    Args:
        channels: channels of the map.
        grid: size of the map.
        fold: parts of the first of three axes; 1 for images.
        patch_size: side of a patch of the plane.
        dim: channels of a token.
        depth: number of layers.
        heads: number of heads.
        head_channels: channels of a head.
        mlp_dim: channels inside the MLPs.
        dropout: chance to drop a number while training.

    Shape:
        plane (B, channels, rows, columns), as `lay_out` gives it; returns the same shape, see `put_back`.

    Raises:
        ValueError: when the grid does not divide.

    Example:
        >>> net = PlaneTransformer(2, (4, 4, 4), 2, 4, 8, 1, 2, 4, 8)
        >>> x = torch.zeros(1, 2, 4, 4, 4)
        >>> net.put_back(net(net.lay_out(x))).shape
        torch.Size([1, 2, 4, 4, 4])
    """

    def __init__(
        self,
        channels: int,
        grid: Sequence[int],
        fold: int,
        patch_size: int,
        dim: int,
        depth: int,
        heads: int,
        head_channels: int,
        mlp_dim: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.volume, self.fold, self.side, self.width = len(grid) == 3, fold, patch_size, grid[-1]
        if grid[0] % fold or (fold > 1 and not self.volume):
            raise ValueError(f"fold is {fold}: give a number that divides {grid[0]}, the lowest map's first axis, or 1")
        self.plane = (grid[1] * fold, grid[0] // fold * grid[2]) if self.volume else (grid[0], grid[1])
        if any(n % patch_size for n in self.plane):
            raise ValueError(f"patch_size is {patch_size}: give one that divides {self.plane}, the lowest map's plane")
        self.patches = (self.plane[0] // patch_size, self.plane[1] // patch_size)
        count, numbers = self.patches[0] * self.patches[1], channels * patch_size**2
        self.embed = nn.Sequential(nn.LayerNorm(numbers), nn.Linear(numbers, dim), nn.LayerNorm(dim))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, count + 1, dim))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            *(PlaneLayer(dim, heads, head_channels, mlp_dim, dropout) for _ in range(depth)), nn.LayerNorm(dim)
        )
        self.norm, self.places = nn.LayerNorm(dim), nn.Linear(count + 1, count)
        self.restore = nn.Sequential(nn.Linear(dim, numbers), nn.LayerNorm(numbers))

    def lay_out(self, x: Tensor) -> Tensor:
        """The map as a plane: (B, C, *grid) to (B, C, rows, columns)."""
        if not self.volume:
            return x
        plane: Tensor = x.unflatten(2, (self.fold, -1)).movedim(4, 2).flatten(4).flatten(2, 3)
        return plane

    def put_back(self, plane: Tensor) -> Tensor:
        """The inverse of `lay_out`."""
        if not self.volume:
            return plane
        x: Tensor = plane.unflatten(3, (-1, self.width)).unflatten(2, (-1, self.fold)).movedim(2, 4).flatten(2, 3)
        return x

    def forward(self, plane: Tensor) -> Tensor:
        (rows, columns), side = self.patches, self.side
        cells = plane.unflatten(3, (columns, side)).unflatten(2, (rows, side))
        tokens = saturate(self.embed(cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)))
        tokens = torch.cat((self.cls_token.to(tokens.dtype).expand(plane.shape[0], -1, -1), tokens), 1)
        tokens = self.norm(self.layers(self.dropout(tokens + self.positions)))
        tokens = saturate(self.places(tokens.transpose(1, 2))).transpose(1, 2)
        cells = self.restore(tokens).unflatten(2, (side, side, -1)).unflatten(1, (rows, columns))
        return saturate(cells.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3))


class ResidualMamba(nn.Module):
    """x + Mamba(norm(x)) with a root-mean-square norm.

    Args:
        channels: channels of a token.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolution.
        expand: inner width over the channels.

    Shape:
        x (B, L, channels); returns the same shape.

    Example:
        >>> ResidualMamba(4)(torch.zeros(1, 3, 4)).shape
        torch.Size([1, 3, 4])
    """

    def __init__(self, channels: int, d_state: int = 16, d_conv: int = 4, expand: float = 2) -> None:
        super().__init__()
        self.norm, self.mamba = nn.RMSNorm(channels, eps=1e-5), Mamba(channels, d_state, d_conv, expand)

    def forward(self, x: Tensor) -> Tensor:
        return saturate(x + saturate(self.mamba(self.norm(x))))
