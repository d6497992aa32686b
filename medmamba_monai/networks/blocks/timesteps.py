"""What networks of diffusion models share: the calling convention of MONAI's inferers and the embedding of a step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_input
from medmamba_monai.networks.layers.precision import saturate


def check_timesteps(timesteps: Tensor, batch: int) -> None:
    """Refuse steps that are not one for each image, or one for all as MONAI's inferers give while they sample.

    Raises:
        ValueError: when their number does not fit.

    Example:
        >>> check_timesteps(torch.zeros(3), 2)
        Traceback (most recent call last):
        ValueError: timesteps has shape (3,): give one for each of 2 images, or one for all
    """
    if timesteps.dim() != 1 or timesteps.shape[0] not in (1, batch):
        raise ValueError(
            f"timesteps has shape {tuple(timesteps.shape)}: give one for each of {batch} images, or one for all"
        )


def split_condition(
    x: Tensor, context: Tensor | None, spatial_dims: int, in_channels: int, condition_channels: int
) -> tuple[Tensor, Tensor | None]:
    """The noisy image and its condition, a map that is given as the context or behind the channels of the image.

    These are the modes "crossattn" and "concat" of `monai.inferers.DiffusionInferer`.

    Raises:
        ValueError: when channels or sizes do not fit.
        TypeError: when a tensor is not of floating point.

    Example:
        >>> image, condition = split_condition(torch.zeros(1, 3, 4, 4), None, 2, 1, 2)
        >>> image.shape[1], condition.shape[1]
        (1, 2)
    """
    if context is not None and condition_channels == 0:
        raise ValueError("a context is given and condition_channels is 0: set condition_channels to its channels")
    if context is None:
        check_input(x, spatial_dims, in_channels + condition_channels)
        parts = x.split((in_channels, condition_channels), 1) if condition_channels else (x, None)
        return parts[0], parts[1]
    check_input(x, spatial_dims, in_channels)
    fits = context.dim() == x.dim() and context.shape[1] == condition_channels and context.shape[2:] == x.shape[2:]
    if not fits or context.shape[0] != x.shape[0]:
        wanted = (x.shape[0], condition_channels, *x.shape[2:])
        raise ValueError(f"context has shape {tuple(context.shape)}: give a map of shape {wanted}")
    return x, context


class FourierSteps(nn.Module):
    """Sines and cosines of a step at random frequencies, which are drawn once and not trained.

    Tancik et al. 2020 (arXiv 2006.10739), equation 4, in one dimension.

    Args:
        channels: numbers in the embedding, even.
        scale: deviation of the frequencies.

    Shape:
        timesteps (T,); returns (T, channels).

    Raises:
        ValueError: when the channels are odd.

    Example:
        >>> FourierSteps(4)(torch.zeros(2)).tolist()
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """

    frequencies: Tensor

    def __init__(self, channels: int, scale: float = 30.0) -> None:
        super().__init__()
        if channels < 2 or channels % 2:
            raise ValueError(f"channels is {channels}: give an even number of at least 2")
        self.register_buffer("frequencies", torch.randn(channels // 2) * scale)

    def forward(self, timesteps: Tensor) -> Tensor:
        # thousands of turns: float32 would lose much of the fraction that the sine is of, but MPS has nothing finer
        exact = torch.float32 if timesteps.device.type == "mps" else torch.float64
        turns = timesteps.to(exact)[:, None] * self.frequencies.to(exact)
        angles = 2 * math.pi * (turns - turns.floor())
        return torch.cat((angles.sin(), angles.cos()), 1).to(self.frequencies.dtype)


class AddStep(nn.Module):
    """Add a linear map of the step's activated embedding to every place of a map.

    Ho et al. 2020 (arXiv 2006.11239), appendix B.

    Args:
        step_channels: numbers in the embedding of the step.
        channels: channels of the map.

    Shape:
        x (B, channels, *S) and steps (T, step_channels) with T of 1 or B; returns (B, channels, *S).

    Example:
        >>> AddStep(4, 2)(torch.zeros(3, 2, 5, 5), torch.zeros(1, 4)).shape
        torch.Size([3, 2, 5, 5])
    """

    def __init__(self, step_channels: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.SiLU(), nn.Linear(step_channels, channels))

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        added: Tensor = self.project(steps)
        return saturate(x + added.reshape(*added.shape, *(1,) * (x.dim() - 2)))
