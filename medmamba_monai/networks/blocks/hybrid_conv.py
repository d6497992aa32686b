"""HC-Mamba's block: half of the channels through dilated and separable convolutions, half through a scan."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.ss_conv_ssm import SSConvSSM
from medmamba_monai.networks.layers.precision import saturate


class HybridConvBranch(nn.Module):
    """A dilated convolution of 3x3, then a depthwise and a pointwise one, between batch norms and ReLU.

    HC-Mamba (arXiv 2405.05007), section 3.3 (HC-Conv).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the grid.
        dilation: distance of the taps of the dilated convolution.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> import torch
        >>> HybridConvBranch(2, 4, 2)(torch.zeros(2, 3, 3, 4)).shape
        torch.Size([2, 3, 3, 4])
    """

    def __init__(self, spatial_dims: int, channels: int, dilation: int) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.norm1, self.norm2, self.norm3 = norm(channels), norm(channels), norm(channels)
        self.dilated = conv(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.depthwise = conv(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = conv(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = saturate(self.norm1(x.contiguous().movedim(-1, 1)))
        y = F.relu(saturate(self.norm2(saturate(self.dilated(y)))))
        y = saturate(self.pointwise(saturate(self.depthwise(y))))
        return F.relu(saturate(self.norm3(y))).movedim(1, -1)


class HCSSM(SSConvSSM):
    """Split the channels, convolve one half as `HybridConvBranch` and scan the other, shuffle and add the input.

    HC-Mamba (arXiv 2405.05007), figure 2 (HC-SSM block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the grid, even.
        dilation: distance of the taps of the dilated convolution.
        arguments: those of `SSConvSSM`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Raises:
        ValueError: when the channels are odd.

    Example:
        >>> import torch
        >>> HCSSM(2, 8, 3)(torch.zeros(2, 3, 3, 8)).shape
        torch.Size([2, 3, 3, 8])
    """

    def __init__(self, spatial_dims: int, channels: int, dilation: int, **arguments: Any) -> None:
        super().__init__(spatial_dims, channels, **arguments)
        self.conv_branch = HybridConvBranch(spatial_dims, channels // 2, dilation)
