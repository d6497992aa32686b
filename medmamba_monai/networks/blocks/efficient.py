"""EfficientVMamba's blocks: a scan over lattices beside a convolution, and the inverted residual."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.layers.merges import ScanMerge
from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.layers.scan_mixer import ScanMixer


class EfficientVSSBlock(nn.Module):
    """x + gate(mixer(norm(x))) + gate(convolutions(norm(x))), both with the same gate on the channels.

    EfficientVMamba (arXiv 2403.09977), figure 3 (EVSS block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        drop_path: chance to drop both branches for a sample while training.
        mixer: arguments of `ScanMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> EfficientVSSBlock(2, 8, order="atrous")(torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, spatial_dims: int, channels: int, drop_path: float = 0.0, **mixer: Any) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.norm = nn.LayerNorm(channels)
        self.mixer = ScanMixer(channels, spatial_dims, **mixer)
        self.conv1 = conv(channels, channels, 3, padding=1, groups=channels)
        self.norm1 = Norm[Norm.BATCH, spatial_dims](channels)
        self.conv2 = conv(channels, channels, 1)
        self.gate = ScanMerge("attention", channels, 1)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        near = F.gelu(self.norm1(saturate(self.conv1(normed.movedim(-1, 1)))))
        near = saturate(self.conv2(near)).movedim(1, -1)
        return saturate(x + self.drop_path(self._gated(self.mixer(normed)) + self._gated(near)))

    def _gated(self, x: Tensor) -> Tensor:
        return saturate(self.gate(x.movedim(-1, 1).unsqueeze(1)).movedim(1, -1))


class InvertedResidual(nn.Module):
    """x + a pointwise convolution of a gated depthwise convolution in a wider space.

    MobileNetV2 (arXiv 1801.04381), figure 3, with the gate of squeeze-and-excitation (arXiv 1709.01507).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        drop_path: chance to drop the branch for a sample while training.
        expand: width of the middle over the channels.
        squeeze: width inside the gate over the middle's.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> InvertedResidual(2, 8)(torch.zeros(2, 3, 5, 8)).shape
        torch.Size([2, 3, 5, 8])
    """

    def __init__(
        self, spatial_dims: int, channels: int, drop_path: float = 0.0, expand: int = 4, squeeze: float = 0.125
    ) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        middle, narrow = expand * channels, max(int(expand * channels * squeeze), 1)
        self.conv1, self.norm1 = conv(channels, middle, 1, bias=False), norm(middle)
        self.conv2, self.norm2 = conv(middle, middle, 3, padding=1, groups=middle, bias=False), norm(middle)
        self.reduce, self.select = conv(middle, narrow, 1), conv(narrow, middle, 1)
        self.conv3, self.norm3 = conv(middle, channels, 1, bias=False), norm(channels)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(saturate(self.conv1(x.movedim(-1, 1)))))
        y = F.relu(self.norm2(saturate(self.conv2(y))))
        mean = y.mean(tuple(range(2, y.dim())), keepdim=True)
        y = saturate(y * torch.sigmoid(saturate(self.select(F.relu(saturate(self.reduce(mean)))))))
        y = self.norm3(saturate(self.conv3(y)))
        return saturate(x + self.drop_path(y.movedim(1, -1)))
