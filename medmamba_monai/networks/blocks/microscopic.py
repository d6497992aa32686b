"""Microscopic-Mamba's block: half of the channels convolved, half scanned, and each half weighs the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.layers.scan_mixer import ScanMixer


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Take the first channel of every group, then the second of every group, and so on; channels last.

    ShuffleNet (arXiv 1707.01083), section 3.1.

    Example:
        >>> shuffle(torch.arange(6), groups=3).tolist()
        [0, 2, 4, 1, 3, 5]
    """
    grouped: Tensor = torch.unflatten(x, -1, (groups, -1))
    return grouped.transpose(-1, -2).flatten(-2)


class PartialMixer(nn.Module):
    """A scan mixer whose output passes a partial feed-forward network: a quarter of the channels is convolved.

    Microscopic-Mamba (arXiv 2409.07896), figure 2 (PSFFN). The network's pointwise convolution is the mixer's own
    output projection with a bias.

    Args:
        channels: channels of a token, even, at least 4.
        spatial_dims: 2 or 3.
        order: name of the scan order.
        d_state: numbers in the state of each channel.
        transpose: swap the last two axes of the network's result, as the authors' code does; needs square grids.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> PartialMixer(4)(torch.zeros(1, 3, 5, 4)).shape
        torch.Size([1, 3, 5, 4])
    """

    def __init__(
        self, channels: int, spatial_dims: int = 2, order: str = "cross", d_state: int = 16, transpose: bool = False
    ) -> None:
        super().__init__()
        self.part, self.transpose = channels // 4, transpose
        self.mixer = ScanMixer(channels, spatial_dims, order, d_state)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv = Conv[Conv.CONV, spatial_dims](self.part, self.part, 3, padding=1, groups=self.part)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.mixer(x) + self.bias)
        first = F.silu(saturate(self.conv(y[..., : self.part].movedim(-1, 1)))).movedim(1, -1)
        y = shuffle(torch.cat((first.to(y.dtype), y[..., self.part :]), -1), y.shape[-1] // 2)
        if self.transpose:
            if y.shape[-2] != y.shape[-3]:
                raise ValueError(
                    f"the grid is {tuple(y.shape[1:-1])}: the released form swaps its last two axes and needs them "
                    "equal; pad the image to a square, or build the network with design='sound'"
                )
            y = y.transpose(-2, -3)
        return saturate(x + y)


class SharedScans(nn.Module):
    """Norm, one mixer for each of four groups of channels with a scaled shortcut, and the same norm again.

    Microscopic-Mamba (arXiv 2409.07896), figure 2 (PVM layer), after UltraLight VM-UNet (arXiv 2403.20035).

    Args:
        channels: channels of a token, a multiple of 8, at least 16.
        mixer: arguments of `PartialMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> SharedScans(16)(torch.zeros(1, 3, 5, 16)).shape
        torch.Size([1, 3, 5, 16])
    """

    def __init__(self, channels: int, spatial_dims: int = 2, **mixer: object) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mixer = PartialMixer(channels // 4, spatial_dims, **mixer)  # type: ignore[arg-type]
        self.skip_scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.cat(self.norm(x).chunk(4, -1))
        mixed = saturate(self.mixer(parts) + self.skip_scale * parts)
        result: Tensor = self.norm(torch.cat(mixed.chunk(4), -1))
        return result


class MutualGates(nn.Module):
    """Weigh each of two maps by the other, concatenate, shuffle, and weigh the channels by their means.

    Microscopic-Mamba (arXiv 2409.07896), figure 3 (MIFA).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of each map, even.

    Shape:
        two maps (B, channels, *S); returns (B, *S, 2 * channels), channels last.

    Example:
        >>> MutualGates(2, 4)(torch.zeros(1, 4, 3, 5), torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](channels, channels, 3, padding=1, groups=channels)
        self.weight = nn.Parameter(torch.empty(2 * channels))
        nn.init.uniform_(self.weight, -1, 1)

    def forward(self, near: Tensor, far: Tensor) -> Tensor:
        from_near = torch.sigmoid(F.relu(saturate(self.conv(near))))
        from_far = torch.sigmoid(F.gelu(saturate(self.conv(far))))
        joined = torch.cat((from_near * far, from_far * near), 1).movedim(1, -1)
        joined = shuffle(joined, joined.shape[-1] // 4)
        means = joined.flatten(1, -2).mean(1)
        gate = torch.sigmoid(self.weight * means)
        return joined * gate.reshape(gate.shape[0], *(1,) * (joined.dim() - 2), -1)


class MicroscopicBlock(nn.Module):
    """Convolve one half of the channels, scan the other, and let each half weigh the other.

    Microscopic-Mamba (arXiv 2409.07896), figure 2.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the grid, a multiple of 16, at least 32.
        drop_path: chance to drop the scanned half for a sample while training.
        mixer: arguments of `PartialMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Raises:
        ValueError: when the channels do not fit.

    Example:
        >>> MicroscopicBlock(2, 32).eval()(torch.zeros(1, 3, 5, 32)).shape
        torch.Size([1, 3, 5, 32])
    """

    def __init__(self, spatial_dims: int, channels: int, drop_path: float = 0.0, **mixer: object) -> None:
        super().__init__()
        if channels % 16 or channels < 32:
            raise ValueError(f"channels is {channels}: the block cuts them in eighths; use a multiple of 16 from 32 on")
        half = channels // 2
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.norm1, self.conv1 = norm(half), conv(half, half, 3, padding=1, groups=half)
        self.norm2, self.conv2 = norm(half), conv(half, channels, 3, padding=1, groups=half)
        self.norm3, self.conv3 = norm(channels), conv(channels, half, 1)
        self.norm4 = norm(half)
        self.scans = SharedScans(half, spatial_dims, **mixer)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.gates = MutualGates(spatial_dims, half)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, -1)
        y = saturate(self.norm1(left.movedim(-1, 1)))
        y = F.relu(self.norm2(saturate(self.conv1(y))))
        y = F.relu(self.norm3(saturate(self.conv2(y))))
        y = F.relu(self.norm4(saturate(self.conv3(y))))
        scanned = self.drop_path(self.scans(right))
        scanned = shuffle(scanned, scanned.shape[-1] // 2)
        return saturate(self.gates(y, scanned.movedim(-1, 1)))
