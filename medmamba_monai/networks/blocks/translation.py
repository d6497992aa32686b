"""The parts of I2I-Mamba: reflected borders, residual convolutions, and layers along a spiral joined with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.ops.scan_order import scan_order


def reflect_pad(x: Tensor, amount: int) -> Tensor:
    """Continue a map (B, C, *S) beyond its borders by its mirror image, of maps smaller than the border several times.

    Example:
        >>> reflect_pad(torch.tensor([[[[1.0, 2.0]]]]), 2)[0, 0, 0].tolist()
        [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    """
    if min(x.shape[2:]) > amount:
        return F.pad(x, [amount] * (2 * (x.dim() - 2)), mode="reflect")
    for axis in range(2, x.dim()):
        last = x.shape[axis] - 1
        places = torch.arange(-amount, last + 1 + amount, device=x.device) % max(2 * last, 1)
        x = x.index_select(axis, last - (last - places).abs())
    return x


class ReflectedConv(nn.Module):
    """A convolution over reflected borders that keeps the size of the map.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the map.
        channels: channels of the result.
        side: odd kernel size.
        bias: give it a bias.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *S).

    Example:
        >>> ReflectedConv(2, 1, 4, 7)(torch.zeros(1, 1, 2, 9)).shape
        torch.Size([1, 4, 2, 9])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, side: int, bias: bool = False) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](in_channels, channels, side, bias=bias)
        self.border = side // 2

    def forward(self, x: Tensor) -> Tensor:
        return saturate(in_float32(self.conv, reflect_pad(x, self.border)))


class ReflectedResidual(nn.Module):
    """x + norm(convolution(relu(norm(convolution(x))))) with reflected borders and batch norms.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> ReflectedResidual(2, 4)(torch.zeros(2, 4, 5, 6)).shape
        torch.Size([2, 4, 5, 6])
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        norm = Norm[Norm.BATCH, spatial_dims]
        self.conv1, self.norm1 = ReflectedConv(spatial_dims, channels, channels, 3), norm(channels)
        self.conv2, self.norm2 = ReflectedConv(spatial_dims, channels, channels, 3), norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return saturate(x + self.norm2(self.conv2(F.relu(saturate(self.norm1(self.conv1(x)))))))


class PathMamba(nn.Module):
    """Norm the tokens, run a Mamba of its own along each path of an order, and project all results together.

    I2I-Mamba (arXiv 2405.14022), section 3.2 (spiral scan).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.

    Shape:
        x (B, channels, *S); returns the same shape.

    Raises:
        ValueError: when there is no such order.

    Example:
        >>> PathMamba(2, 4)(torch.zeros(2, 4, 5, 6)).shape
        torch.Size([2, 4, 5, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        order: str = "spiral+-spiral",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        self.order = scan_order(order, spatial_dims)
        count = self.order.num_sequences
        self.norm = nn.LayerNorm(channels)
        self.mixers = nn.ModuleList(Mamba(channels, d_state, d_conv, expand) for _ in range(count))
        self.project = Conv[Conv.CONV, spatial_dims](count * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        size: Sequence[int] = x.shape[2:]
        lines = self.order.sequences(self.norm(x.movedim(1, -1)).movedim(-1, 1)).unbind(1)
        mixed = [mixer(line.transpose(1, 2)).transpose(1, 2) for mixer, line in zip(self.mixers, lines, strict=True)]
        maps = self.order.restore(saturate(torch.stack(mixed, 1)), size)
        return saturate(in_float32(self.project, maps.flatten(1, 2)))


class ChannelMixedBlock(nn.Module):
    """Join a map with its scan, compress the channels by residual convolutions, and convolve once more.

    I2I-Mamba (arXiv 2405.14022), figure 2 (channel-mixed Mamba block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        order: name of the scan order.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> ChannelMixedBlock(2, 4)(torch.zeros(2, 4, 5, 6)).shape
        torch.Size([2, 4, 5, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        order: str = "spiral+-spiral",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        conv, norm, both = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims], 2 * channels
        self.mixer = PathMamba(spatial_dims, channels, order, d_state, d_conv, expand)
        self.skip, self.skip_norm = conv(both, channels, 1, bias=False), norm(channels)
        self.conv1, self.norm1 = conv(both, channels, 3, padding=1, bias=False), norm(channels)
        self.conv2, self.norm2 = conv(channels, channels, 3, padding=1, bias=False), norm(channels)
        self.local = ReflectedResidual(spatial_dims, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((x, self.mixer(x)), 1)
        y = F.relu(saturate(self.norm1(saturate(in_float32(self.conv1, x)))))
        y = saturate(self.norm2(saturate(in_float32(self.conv2, y))))
        y = F.relu(saturate(y + saturate(self.skip_norm(saturate(in_float32(self.skip, x))))))
        mixed: Tensor = self.local(y)
        return mixed
