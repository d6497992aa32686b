"""The parts of LightM-UNet: residual blocks of Mamba layers and of depthwise convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import saturate, without_autocast


class SeparableConv(nn.Module):
    """A depthwise convolution followed by a pointwise one.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd side of the depthwise kernel.
        bias: give both a bias.

    Shape:
        x (B, in_channels, *S); returns (B, out_channels, *S).

    Example:
        >>> SeparableConv(2, 1, 8)(torch.zeros(1, 1, 5, 4)).shape
        torch.Size([1, 8, 5, 4])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3, bias: bool = False
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.depthwise = conv(
            in_channels, in_channels, kernel_size, padding=kernel_size // 2, groups=in_channels, bias=bias
        )
        self.pointwise = conv(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return saturate(self.pointwise(saturate(self.depthwise(x))))


class ScaledMambaLayer(nn.Module):
    """Tokens t become proj(norm(Mamba(norm(t)) + s t)), with one norm in both places and a learned scale s.

    LightM-UNet (arXiv 2403.05246), equations 4 to 6 (the vision Mamba module with its scaled shortcut).

    Args:
        in_channels: channels of the map.
        out_channels: channels of the result.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.

    Shape:
        x (B, in_channels, *S); returns (B, out_channels, *S).

    Example:
        >>> ScaledMambaLayer(8, 16)(torch.zeros(1, 8, 3, 5)).shape
        torch.Size([1, 16, 3, 5])

    Notes:
        It computes in float32 whatever autocast asks.
    """

    def __init__(
        self, in_channels: int, out_channels: int, d_state: int = 16, d_conv: int = 4, expand: float = 2
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels)
        self.mamba = Mamba(in_channels, d_state, d_conv, expand)
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.proj = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):
            tokens = (x.float() if x.element_size() < 4 else x).flatten(2).transpose(1, 2)
            mixed = self.mamba(self.norm(tokens)) + self.skip_scale * tokens
            y = self.proj(self.norm(mixed)).transpose(1, 2)
        return saturate(y.reshape(x.shape[0], -1, *x.shape[2:]))


class ResidualMambaBlock(nn.Module):
    """Twice group norm, ReLU and a Mamba layer, beside the identity.

    LightM-UNet (arXiv 2403.05246), figure 2 (the residual vision Mamba layer), as its code builds it.

    Args:
        channels: channels of the map, divisible by ``groups``.
        groups: groups of the group norms.
        mamba: d_state, d_conv and expand of the Mamba layers.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> ResidualMambaBlock(8, 4)(torch.zeros(1, 8, 3, 5)).shape
        torch.Size([1, 8, 3, 5])
    """

    def __init__(self, channels: int, groups: int, mamba: tuple[int, int, float] = (16, 4, 2)) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.mixer1 = ScaledMambaLayer(channels, channels, *mamba)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.mixer2 = ScaledMambaLayer(channels, channels, *mamba)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mixer1(F.relu(self.norm1(x)))
        return saturate(x + self.mixer2(F.relu(self.norm2(y))))


class SeparableUpBlock(nn.Module):
    """Norm, ReLU, a separable convolution, the input times a learned scale, norm and ReLU.

    LightM-UNet (arXiv 2403.05246), figure 2 (the decoder's block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map, divisible by ``groups``.
        groups: groups of the group norms.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> SeparableUpBlock(2, 8, 4)(torch.zeros(1, 8, 3, 5)).shape
        torch.Size([1, 8, 3, 5])
    """

    def __init__(self, spatial_dims: int, channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv = SeparableConv(spatial_dims, channels, channels)
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.norm2 = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.relu(self.norm1(x))) + self.skip_scale * x
        return F.relu(self.norm2(saturate(y)))
