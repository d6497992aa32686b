"""The parts of MambaMIM: convolutions that see visible patches only, Mamba over those, and what fills the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.registration import sinusoidal_positions
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import saturate


class ConvLayer(nn.Module):
    """A convolution and if wished a layer norm of the channels, both zero in patches that are hidden.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the result.
        kernel: odd kernel size.
        groups: groups of the convolution.
        norm: normalise the channels of each place.

    Shape:
        x (B, in_channels, *S) and visible (B, 1, *grid), 1 for patches to see and 0 for hidden ones, or None for all
        visible; S is a multiple of the grid. Returns (B, channels, *S).

    Example:
        >>> ConvLayer(2, 1, 4, norm=True)(torch.zeros(1, 1, 6, 4), torch.ones(1, 1, 3, 2)).shape
        torch.Size([1, 4, 6, 4])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: int, kernel: int = 3, groups: int = 1, norm: bool = False
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.conv = conv(in_channels, channels, kernel, padding=kernel // 2, groups=groups)
        self.norm = nn.LayerNorm(channels, eps=1e-6) if norm else None

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        y = saturate(self.conv(x))
        if self.norm is not None:
            y = self.norm(y.movedim(1, -1)).movedim(-1, 1)
        return keep(y, visible)


class InvertedBlock(nn.Module):
    """x + conv1(GELU(conv1(norm(depthwise(x))))) with wider channels in the middle: MedNeXt's block.

    MedNeXt (arXiv 2303.09975), figure 1, with a layer norm.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        ratio: channels in the middle over those of the map.

    Shape:
        x (B, channels, *S) and visible as for `ConvLayer`; returns (B, channels, *S).

    Example:
        >>> InvertedBlock(2, 4, 2)(torch.zeros(1, 4, 6, 4)).shape
        torch.Size([1, 4, 6, 4])
    """

    def __init__(self, spatial_dims: int, channels: int, ratio: int) -> None:
        super().__init__()
        self.depthwise = ConvLayer(spatial_dims, channels, channels, groups=channels, norm=True)
        self.widen = ConvLayer(spatial_dims, channels, ratio * channels, 1)
        self.narrow = ConvLayer(spatial_dims, ratio * channels, channels, 1)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        middle = F.gelu(self.widen(self.depthwise(x, visible), visible))
        return saturate(x + self.narrow(middle, visible))


class PlainResidual(nn.Module):
    """Two convolutions with norms and leaky ReLU beside a shortcut, which is projected where the channels change.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the result.

    Shape:
        x (B, in_channels, *S) and visible as for `ConvLayer`; returns (B, channels, *S).

    Example:
        >>> PlainResidual(2, 4, 2)(torch.zeros(1, 4, 6, 4)).shape
        torch.Size([1, 2, 6, 4])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.first = ConvLayer(spatial_dims, in_channels, channels, norm=True)
        self.second = ConvLayer(spatial_dims, channels, channels, norm=True)
        self.shortcut = (
            ConvLayer(spatial_dims, in_channels, channels, 1, norm=True) if in_channels != channels else None
        )

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        y = self.second(F.leaky_relu(self.first(x, visible), 0.01), visible)
        return F.leaky_relu(saturate(y + (x if self.shortcut is None else self.shortcut(x, visible))), 0.01)


class MambaMlpBlock(nn.Module):
    """x + Mamba(norm(x)), then x + mlp(norm(x)).

    Args:
        channels: channels of a token.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolution.
        expand: inner width over the channels.

    Shape:
        x (B, L, channels); returns the same shape.

    Example:
        >>> MambaMlpBlock(4)(torch.zeros(1, 3, 4)).shape
        torch.Size([1, 3, 4])
    """

    def __init__(self, channels: int, d_state: int = 16, d_conv: int = 4, expand: float = 2) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mamba = Mamba(channels, d_state, d_conv, expand)
        self.fc1, self.fc2 = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = saturate(x + saturate(self.mamba(self.norm1(x))))
        return saturate(x + saturate(self.fc2(F.gelu(saturate(self.fc1(self.norm2(x)))))))


class HyMambaEncoder(nn.Module):
    """Levels of convolutions, each followed by pooling, and Mamba over the tokens of the lowest resolution.

    MambaMIM (arXiv 2408.08070), the hybrid encoder HyMamba.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        channels: channels of the stem and of the levels.
        depths: convolutional blocks of the levels below the first one.
        ratios: channels inside these blocks over those of the map.
        mamba_depth: Mamba blocks.
        first_skip: also give the map at the image's resolution.
        hides: have a token for what is hidden.
        use_checkpoint: while training, compute the Mamba blocks again instead of keeping what is inside them.
        mamba: d_state, d_conv and expand of Mamba.

    Shape:
        x (B, in_channels, *S), S multiples of 2 ** len(depths), and visible (B, 1, *grid) as for `ConvLayer`. Returns
        the maps of the levels, the highest resolution first, (B, channels[i + 1], *S / 2 ** i), and behind them that of
        the lowest resolution after Mamba, again with channels[-1].

    Example:
        >>> encoder = HyMambaEncoder(2, 1, [4, 4, 8], [1, 1], [2, 2], 1)
        >>> [tuple(y.shape) for y in encoder(torch.zeros(1, 1, 8, 12))]
        [(1, 4, 8, 12), (1, 8, 4, 6), (1, 8, 2, 3)]
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        depths: Sequence[int],
        ratios: Sequence[int],
        mamba_depth: int,
        first_skip: bool = True,
        hides: bool = False,
        use_checkpoint: bool = False,
        mamba: tuple[int, int, float] = (16, 4, 2),
    ) -> None:
        super().__init__()
        self.spatial_dims, self.first_skip, self.use_checkpoint = spatial_dims, first_skip, use_checkpoint
        self.stem = ConvLayer(spatial_dims, in_channels, channels[0])
        self.widen = nn.ModuleList(
            ConvLayer(spatial_dims, a, b) for a, b in zip(channels[:-1], channels[1:], strict=True)
        )
        # without the first one the others keep their places, so that encoders with and without it share weights
        self.skips = nn.ModuleList(
            PlainResidual(spatial_dims, width, width) if i or first_skip else nn.Identity()
            for i, width in enumerate(channels[1:])
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(InvertedBlock(spatial_dims, width, ratio) for _ in range(depth))
            for width, depth, ratio in zip(channels[1:], depths, ratios, strict=True)
        )
        self.blocks = nn.Sequential(*(MambaMlpBlock(channels[-1], *mamba) for _ in range(mamba_depth)))
        self.mask_token = nn.Parameter(0.02 * torch.randn(channels[-1])) if hides else None

    def forward(self, x: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        pool = F.max_pool2d if self.spatial_dims == 2 else F.max_pool3d
        y, maps = self.stem(x, visible), []
        for i, (widen, level) in enumerate(zip(self.widen, self.levels, strict=True)):
            y = widen(y, visible)
            if i or self.first_skip:
                maps.append(self.skips[i](y, visible))
            y = keep(pool(y, 2), visible)
            assert isinstance(level, nn.ModuleList)
            for block in level:
                y = block(y, visible)
        return [*maps, self._mix(y, visible)]

    def _mix(self, y: Tensor, visible: Tensor | None) -> Tensor:
        """Mamba over all tokens, or over the visible ones alone; the others become the token for what is hidden."""
        grid = y.movedim(1, -1)
        tokens = (grid + sinusoidal_positions(grid.shape[1:-1], grid)).flatten(1, -2)
        if visible is None or self.mask_token is None:
            mixed = run(self.blocks, tokens, use_checkpoint=self.use_checkpoint)
        else:
            seen = visible.flatten(1) > 0.5
            order = (~seen).int().argsort(dim=1, stable=True)[:, : int(seen[0].sum())]
            places = order.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
            found = run(self.blocks, tokens.gather(1, places), use_checkpoint=self.use_checkpoint)
            mixed = self.mask_token.to(found.dtype).expand(tokens.shape).scatter(1, places, found)
        return mixed.reshape(grid.shape).movedim(-1, 1)


def keep(x: Tensor, visible: Tensor | None) -> Tensor:
    """The map with zeros in hidden patches.

    Example:
        >>> keep(torch.ones(1, 1, 2, 4), torch.tensor([[[[1.0, 0.0]]]]))[0, 0].tolist()
        [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]
    """
    if visible is None:
        return x
    return x * F.interpolate(visible.to(x.dtype), size=x.shape[2:], mode="nearest")


def interpolate_states(x: Tensor, visible: Tensor, A: Tensor) -> Tensor:
    """Fill the gaps between visible tokens of a sequence as states that a learned matrix carries on.

    MambaMIM (arXiv 2408.08070), state-space token interpolation (S6T). With visible tokens at i and j and none
    between, x_m goes evenly from x_i at m = i to x_j at m = j - 1, and the token at k is the sum of
    ``A ** (j - 1 - m) @ x_m`` over m from i to k. The first and the last token count as visible; the last one gives
    ``A @ x``.

    Args:
        x: tokens; those at hidden places are not looked at, but for the first and the last.
        visible: True for tokens to see.
        A: the matrix.

    Shape:
        x (B, L, C), visible (B, L), A (C, C); returns (B, L, C), of which the hidden places are of use.

    Example:
        >>> x, visible = torch.tensor([[[1.0], [0.0], [5.0]]]), torch.tensor([[True, False, True]])
        >>> interpolate_states(x, visible, torch.tensor([[0.5]]))[0, 1].tolist()
        [5.5]
    """
    length = x.shape[1]
    places = torch.arange(length, device=x.device).expand(visible.shape)
    ends = (places == 0) | (places == length - 1)
    anchor = visible | ends
    before = torch.where(anchor, places, 0).cummax(1).values
    following = torch.where(anchor, places, length).flip(1).cummin(1).values.flip(1)
    # the sequence's last token has none behind it: as if there were two steps to the next
    after = torch.cat((following[:, 1:], following.new_full((len(x), 1), length + 1)), 1)
    steps = (after - before - 1).clamp(min=1)
    alpha = ((places - before) / steps).unsqueeze(-1).to(x.dtype)
    channels = x.shape[-1]

    def token(index: Tensor) -> Tensor:
        return x.gather(1, index.clamp(max=length - 1).unsqueeze(-1).expand(-1, -1, channels))

    carried = (1 - alpha) * token(before) + alpha * token(after)
    powers = (after - 1 - places).unsqueeze(-1)
    for step in range(int(powers.max())):
        carried = torch.where(powers > step, carried @ A.T.to(carried.dtype), carried)
    same_gap = before[:, :, None] == before[:, None, :]
    earlier = places[:, :, None] >= places[:, None, :]
    return (same_gap & earlier).to(carried.dtype) @ carried
