"""The parts of SegMamba and Vivim: spatial convolution, tri-orientated mixers and the skips' MLP."""

from __future__ import annotations

import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.segformer import MixMlp
from medmamba_monai.networks.blocks.u_mamba import InstanceNorm
from medmamba_monai.networks.layers.precision import saturate, without_autocast
from medmamba_monai.networks.layers.tri_oriented import TriOrientedMamba


class SpatialConv(nn.Module):
    """Two convolutions beside a pointwise one, their sum through another pointwise one, all beside the identity.

    SegMamba (arXiv 2401.13560), equation 3 (gated spatial convolution).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> import torch
        >>> SpatialConv(2, 4)(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])

    Notes:
        The paper multiplies both branches, the authors' code adds them; so does this block.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.proj, self.proj2 = (conv(channels, channels, 3, padding=1) for _ in range(2))
        self.proj3, self.proj4 = (conv(channels, channels, 1) for _ in range(2))
        self.norm = InstanceNorm(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        def apply(conv: nn.Module, x: Tensor) -> Tensor:
            return F.relu(self.norm(saturate(conv(x))))

        both = apply(self.proj2, apply(self.proj, x)) + apply(self.proj3, x)
        return saturate(apply(self.proj4, both) + x)


class TriOrientedBlock(nn.Module):
    """x + Mamba(LayerNorm(x)) over the voxels, forwards, backwards and across the slices.

    SegMamba (arXiv 2401.13560), equation 4.

    Args:
        channels: channels of the map.
        slices: number of slices; None takes the length of the map's first axis.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width over the channels.
        mean: average the three directions instead of adding them.

    Shape:
        x (B, channels, *S); returns the same shape.

    Raises:
        ValueError: when the slices do not divide the map.

    Example:
        >>> import torch
        >>> TriOrientedBlock(4)(torch.zeros(1, 4, 3, 5, 2)).shape
        torch.Size([1, 4, 3, 5, 2])

    Notes:
        It computes in float32 whatever autocast asks.
    """

    def __init__(
        self,
        channels: int,
        slices: int | None = None,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        mean: bool = False,
    ) -> None:
        super().__init__()
        self.slices = slices
        self.norm = nn.LayerNorm(channels)
        self.mamba = TriOrientedMamba(channels, d_state, d_conv, expand, mean)

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):
            tokens = (x.float() if x.element_size() < 4 else x).flatten(2)
            normed = self.norm(tokens.transpose(1, 2)).transpose(1, 2)
            mixed = self.mamba.mix(normed, x.shape[2] if self.slices is None else self.slices)
        return saturate((tokens + mixed).reshape(x.shape))


class ChannelMlp(nn.Module):
    """Two pointwise convolutions, twice the channels between them, with GELU.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> import torch
        >>> ChannelMlp(2, 4)(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.fc1, self.fc2 = conv(channels, 2 * channels, 1), conv(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return saturate(self.fc2(F.gelu(saturate(self.fc1(x)))))


class TemporalMamba(nn.Module):
    """Mamba over the voxels of a clip, read forwards, backwards and along time, then an MLP that mixes neighbours.

    Vivim (arXiv 2401.14168), figure 2 (temporal Mamba block).

    Args:
        channels: channels of the clip.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width over the channels.
        slices: number of frames; None takes it from the clip.

    Shape:
        x (B, channels, frames, H, W); returns the same shape.

    Example:
        >>> import torch
        >>> TemporalMamba(4)(torch.zeros(1, 4, 2, 3, 5)).shape
        torch.Size([1, 4, 2, 3, 5])
    """

    def __init__(
        self, channels: int, d_state: int = 16, d_conv: int = 4, expand: float = 2, slices: int | None = None
    ) -> None:
        super().__init__()
        self.mix = TriOrientedBlock(channels, slices, d_state, d_conv, expand, mean=True)
        self.norm = nn.LayerNorm(channels)
        self.mlp = MixMlp(3, channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(x).movedim(1, -1)
        return saturate(y + self.mlp(self.norm(y))).movedim(-1, 1)
