"""The deep fusion of MambaDFuse: scans of the fused map and of both images, summed."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.multi_modal import MultiModalMamba
from medmamba_monai.networks.layers.precision import in_float32, saturate


class ModalFusion(nn.Module):
    """Norm three sequences, sum their scans, and add a depthwise convolution of the result.

    MambaDFuse (arXiv 2404.08406), section 3.3 (M3 block).

    Args:
        spatial_dims: 2 or 3.
        dim: channels of a token.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixer over the channels.
        times: how often the norms are applied.

    Shape:
        three sequences (B, L, dim) and the size of their grid; returns (B, L, dim).

    Example:
        >>> import torch
        >>> x = torch.zeros(1, 6, 8)
        >>> ModalFusion(2, 8)(x, x, x, (2, 3)).shape
        torch.Size([1, 6, 8])
    """

    def __init__(
        self, spatial_dims: int, dim: int, d_state: int = 16, d_conv: int = 4, expand: float = 2, times: int = 1
    ) -> None:
        super().__init__()
        self.times = times
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.mixer = MultiModalMamba(dim, d_state, d_conv, expand)
        self.conv = Conv[Conv.CONV, spatial_dims](dim, dim, 3, padding=1, groups=dim)

    def forward(self, fused: Tensor, second: Tensor, first: Tensor, size: Sequence[int]) -> Tensor:
        sequences = [fused, second, first]
        for _ in range(self.times):
            sequences = [norm(x) for norm, x in zip(self.norms, sequences, strict=True)]
        grid = to_grid(saturate(self.mixer(*sequences)), size)
        return saturate(in_float32(self.conv, grid) + grid).flatten(2).transpose(1, 2)


def to_grid(x: Tensor, size: Sequence[int]) -> Tensor:
    """Tokens (B, L, C) as a map (B, C, *S).

    Example:
        >>> import torch
        >>> to_grid(torch.zeros(1, 6, 8), (2, 3)).shape
        torch.Size([1, 8, 2, 3])
    """
    grid: Tensor = x.transpose(1, 2).unflatten(2, tuple(size))
    return grid
