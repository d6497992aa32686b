"""MUCM-Net's block: an MLP with depthwise convolutions beside Mambas on groups of channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.u_mamba import InstanceNorm
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import saturate


class TokenConv(nn.Module):
    """An instance norm without weights and a depthwise convolution of 3x3.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> TokenConv(2, 4)(torch.zeros(1, 3, 3, 4)).shape
        torch.Size([1, 3, 3, 4])
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.norm = InstanceNorm(channels, affine=False)
        self.conv = Conv[Conv.CONV, spatial_dims](channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.conv(self.norm(x.movedim(-1, 1))).movedim(1, -1)
        return convolved


class UCMBlock(nn.Module):
    """mlp(norm(x)) + mamba(norm(x)) + norm(x), with a depthwise convolution behind both maps of the MLP.

    MUCM-Net (arXiv 2405.15925), figure 3 (Mamba-UCM block); UCM-Net (arXiv 2310.09457), figure 3.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        parts: groups of channels, each with a Mamba of its own; it must divide the channels.
        d_state: numbers in the state of each channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Raises:
        ValueError: when the parts do not divide the channels.

    Example:
        >>> UCMBlock(2, 8, parts=2)(torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(
        self, spatial_dims: int, channels: int, parts: int = 1, d_state: int = 4, d_conv: int = 4, expand: float = 2
    ) -> None:
        super().__init__()
        check_positive(parts=parts)
        if channels % parts:
            raise ValueError(f"parts is {parts}: it must divide the {channels} channels of each stage behind the first")
        self.norm = nn.LayerNorm(channels)
        self.mambas = nn.ModuleList(Mamba(channels // parts, d_state, d_conv, expand) for _ in range(parts))
        self.fc1, self.fc2 = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.conv1, self.conv2 = TokenConv(spatial_dims, channels), TokenConv(spatial_dims, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        groups = x.flatten(1, -2).chunk(len(self.mambas), -1)
        parts = [mamba(group) for mamba, group in zip(self.mambas, groups, strict=True)]
        scanned = torch.cat(parts, -1).reshape(x.shape)
        y = F.gelu(self.conv1(saturate(self.fc1(x))))
        return saturate(self.conv2(saturate(self.fc2(y))) + saturate(scanned) + x)
