"""MedMamba's block: half of the channels through convolutions, half through a scan."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.layers.scan_mixer import ScanMixer


class ConvBranch(nn.Module):
    """Two 3x3 convolutions and a pointwise one, each but the last between batch norms.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the grid.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> ConvBranch(2, 4)(torch.zeros(1, 3, 3, 4)).shape
        torch.Size([1, 3, 3, 4])
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.norm1, self.conv1 = norm(channels), conv(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = norm(channels), conv(channels, channels, 3, padding=1)
        self.norm3, self.conv3 = norm(channels), conv(channels, channels, 1)
        # The grid has its channels last; weights in the same layout spare a copy of them in every call.
        layout = torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
        for layer in (self.conv1, self.conv2):
            layer.weight = nn.Parameter(layer.weight.detach().contiguous(memory_format=layout))

    def forward(self, x: Tensor) -> Tensor:
        y = saturate(self.norm1(x.contiguous().movedim(-1, 1)))
        y = F.relu(self.norm2(saturate(self.conv1(y))), inplace=True)
        y = F.relu(self.norm3(saturate(self.conv2(y))), inplace=True)
        return F.relu(saturate(self.conv3(y))).movedim(1, -1)


class SSConvSSM(nn.Module):
    """Split the channels, convolve one half and scan the other, shuffle them together and add the input.

    MedMamba (arXiv 2403.03849), figure 2 (SS-Conv-SSM).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the grid, even.
        order: name of the scan order.
        d_state: numbers in the state of each channel.
        drop_path: chance to drop the scan's half for a sample while training.
        layer: number of the layer, for orders that give each layer another path.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Raises:
        ValueError: when the channels are odd.

    Example:
        >>> SSConvSSM(2, 8)(torch.zeros(1, 3, 3, 8)).shape
        torch.Size([1, 3, 3, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        order: str = "cross",
        d_state: int = 16,
        drop_path: float = 0.0,
        layer: int = 0,
    ) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"channels is {channels}: the block splits them in two halves; use an even number")
        self.conv_branch: nn.Module = ConvBranch(spatial_dims, channels // 2)
        self.norm = nn.LayerNorm(channels // 2)
        self.mixer = ScanMixer(channels // 2, spatial_dims, order, d_state, layer=layer)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, -1)
        right = self.drop_path(self.mixer(self.norm(right)))
        # Stacking on a new last axis interleaves the halves: the shuffle of two groups.
        return saturate(x + torch.stack((self.conv_branch(left), right), -1).flatten(-2))
