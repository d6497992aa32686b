"""The parts of nnMamba: residual layers that share one Mamba, read four ways, and the heads for points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import Saturate, saturate, without_autocast

LIMIT = 32752.0


class DoubleConv(nn.Sequential):
    """Twice a convolution of 3x3, a batch norm and ReLU.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output.
        stride: stride of the first convolution.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *ceil(S / stride)).

    Example:
        >>> DoubleConv(2, 1, 4, 2)(torch.zeros(1, 1, 5, 4)).shape
        torch.Size([1, 4, 3, 2])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, stride: int = 1) -> None:
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        parts: list[nn.Module] = []
        for width, step in ((in_channels, stride), (channels, 1)):
            parts += [conv(width, channels, 3, step, 1), Saturate(), norm(channels), nn.ReLU()]
        super().__init__(*parts)


class SiameseMambaBlock(nn.Module):
    """A pointwise convolution, Mamba over the voxels beside the identity, another pointwise convolution.

    nnMamba (arXiv 2402.03526), section 2.2 (MICCSS): one Mamba reads the tokens as they are, backwards, with their
    channels reversed, and with both; the mean of the four goes on.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        d_state: numbers in the state of each channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.
        siamese: read the tokens four ways; else once.
        use_checkpoint: while training, compute the Mamba again instead of keeping what is inside it.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> SiameseMambaBlock(2, 4)(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])

    Notes:
        Mamba computes in float32 whatever autocast asks; results beyond half of float16's range are clipped.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        siamese: bool = True,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.conv1, self.norm1 = conv(channels, channels, 1, bias=False), norm(channels)
        self.mamba = Mamba(channels, d_state, d_conv, expand)
        self.conv2, self.norm2 = conv(channels, channels, 1, bias=False), norm(channels)
        self.siamese, self.use_checkpoint = siamese, use_checkpoint

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(saturate(self.conv1(x))))
        with without_autocast(x):
            tokens = (x.float() if x.element_size() < 4 else x).flatten(2)
            # without a norm in front, what Mamba gives grows with the fifth power of its input, layer by layer
            mixed = (self._mix(tokens) + tokens).clamp(-LIMIT, LIMIT)
        y = self.conv2(saturate(mixed.reshape(x.shape)))
        return F.relu(self.norm2(saturate(y)))

    def _mix(self, tokens: Tensor) -> Tensor:
        flips: Sequence[tuple[int, ...]] = ((), (1,), (2,), (1, 2)) if self.siamese else ((),)
        # four sequences of one layer: one call with four times the batch
        read = torch.cat([tokens.flip(axes) if axes else tokens for axes in flips])
        mixed = run(self.mamba, read.transpose(1, 2), use_checkpoint=self.use_checkpoint).transpose(1, 2)
        back = [y.flip(axes) if axes else y for y, axes in zip(mixed.chunk(len(flips)), flips, strict=True)]
        return torch.stack(back).mean(0)


class ResidualBlock(nn.Module):
    """Two convolutions with batch norms beside a shortcut, and beside what a mixer gave.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output.
        stride: stride of the first convolution; the shortcut is projected where it or the channels change.

    Shape:
        x (B, in_channels, *S), mixed None or (B, channels, *S); returns (B, channels, *ceil(S / stride)).

    Example:
        >>> ResidualBlock(2, 2, 4, 2)(torch.zeros(1, 2, 5, 4)).shape
        torch.Size([1, 4, 3, 2])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.conv1, self.norm1 = conv(in_channels, channels, 3, stride, 1, bias=False), norm(channels)
        self.conv2, self.norm2 = conv(channels, channels, 3, 1, 1, bias=False), norm(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != channels:
            project = conv(in_channels, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, Saturate(), norm(channels))

    def forward(self, x: Tensor, mixed: Tensor | None = None) -> Tensor:
        y = F.relu(self.norm1(saturate(self.conv1(x))))
        y = self.norm2(saturate(self.conv2(y))) + self.shortcut(x)
        return F.relu(saturate(y if mixed is None else y + mixed))


class ResidualLayer(nn.Module):
    """A strided residual block and others at its resolution, which all add the result of one shared mixer.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output.
        blocks: number of blocks.
        mixer: what is added to every block but the first, given the block's input; or None.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *ceil(S / 2)).

    Example:
        >>> ResidualLayer(2, 2, 4, 2)(torch.zeros(1, 2, 5, 4)).shape
        torch.Size([1, 4, 3, 2])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: int, blocks: int, mixer: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.first = ResidualBlock(spatial_dims, in_channels, channels, 2)
        self.others = nn.ModuleList(ResidualBlock(spatial_dims, channels, channels) for _ in range(blocks - 1))
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.others:
            x = block(x, None if self.mixer is None else self.mixer(x))
        return x


class ChannelScale(nn.Module):
    """Weigh the channels of a map by a small network of their means.

    Args:
        channels: channels of the map.
        reduction: channels over the network's inner width, which is at least 1.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> ChannelScale(4)(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        means = x.flatten(2).mean(2)
        scale = torch.sigmoid(saturate(self.fc2(F.relu(saturate(self.fc1(means))))))
        return x * scale.reshape(*scale.shape, *(1,) * (x.dim() - 2))


def expected_points(heatmaps: Tensor) -> Tensor:
    """The mean place of each heatmap, in voxels, where its softmax is the chance of a place.

    Shape:
        heatmaps (B, K, *S); returns (B, K, axes of S), a coordinate along each axis in the order of the axes.

    Example:
        >>> heatmaps = torch.zeros(1, 1, 3, 5)
        >>> heatmaps[0, 0, 2, 3] = 50
        >>> expected_points(heatmaps).tolist()
        [[[2.0, 3.0]]]
    """
    size = heatmaps.shape[2:]
    chances = heatmaps.float().flatten(2).softmax(-1).reshape(heatmaps.shape)
    points = []
    for axis, length in enumerate(size, start=2):
        others = [a for a in range(2, heatmaps.dim()) if a != axis]
        along = chances.sum(others) if others else chances
        points.append(along @ torch.arange(length, dtype=along.dtype, device=along.device))
    return torch.stack(points, -1)
