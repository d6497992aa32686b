"""Layers of diffusion models that are told the step: a residual block of convolutions, and a scan behind one."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.timesteps import AddStep
from medmamba_monai.networks.blocks.vss import VSSBlock
from medmamba_monai.networks.layers.precision import in_float32, saturate


class StepResidualBlock(nn.Module):
    """Norm, SiLU, convolution, the step, norm, SiLU, convolution, beside the identity.

    Ho et al. 2020 (arXiv 2006.11239), appendix B.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the map.
        channels: channels of the result.
        step_channels: numbers in the embedding of the step.

    Shape:
        x (B, in_channels, *S) and steps (T, step_channels) with T of 1 or B; returns (B, channels, *S).

    Example:
        >>> import torch
        >>> StepResidualBlock(2, 4, 8, 3)(torch.zeros(2, 4, 5, 6), torch.zeros(1, 3)).shape
        torch.Size([2, 8, 5, 6])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, step_channels: int) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.norm1, self.conv1 = group_norm(in_channels), conv(in_channels, channels, 3, padding=1)
        self.step = AddStep(step_channels, channels)
        self.norm2, self.conv2 = group_norm(channels), conv(channels, channels, 3, padding=1)
        self.skip: nn.Module = conv(in_channels, channels, 1) if in_channels != channels else nn.Identity()

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        y = self.step(saturate(in_float32(self.conv1, F.silu(self.norm1(x)))), steps)
        y = saturate(in_float32(self.conv2, F.silu(self.norm2(y))))
        return saturate(saturate(in_float32(self.skip, x)) + y)


class StateSpaceLayer(nn.Module):
    """A residual block of convolutions, then x + scan(norm(x + the step)).

    VM-DDPM (arXiv 2405.05667), state-space layer, as far as its abstract tells.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the map.
        channels: channels of the result.
        step_channels: numbers in the embedding of the step.
        scan: arguments of `ScanMixer`.

    Shape:
        x (B, in_channels, *S) and steps (T, step_channels) with T of 1 or B; returns (B, channels, *S).

    Example:
        >>> import torch
        >>> StateSpaceLayer(2, 4, 8, 3)(torch.zeros(2, 4, 5, 6), torch.zeros(2, 3)).shape
        torch.Size([2, 8, 5, 6])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, step_channels: int, **scan: Any) -> None:
        super().__init__()
        self.local = StepResidualBlock(spatial_dims, in_channels, channels, step_channels)
        self.step = AddStep(step_channels, channels)
        self.block = VSSBlock(spatial_dims, channels, **scan)

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        told = self.step(self.local(x, steps), steps)
        mixed: Tensor = self.block(told.movedim(1, -1))
        return mixed.movedim(-1, 1)


def group_norm(channels: int) -> nn.GroupNorm:
    """A group norm with as many groups as divide the channels, up to 32, of at least four channels each.

    Example:
        >>> group_norm(64).num_groups, group_norm(12).num_groups, group_norm(3).num_groups
        (16, 3, 1)
    """
    return nn.GroupNorm(max(n for n in range(1, 33) if n == 1 or channels % n == 0 and channels // n >= 4), channels)
