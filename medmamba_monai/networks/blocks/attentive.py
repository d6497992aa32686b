"""The layer of MambaIRv2: attention in windows, then the attentive scan, each followed by an MLP with a convolution."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from monai.networks.nets.swin_unetr import WindowAttention, window_partition, window_reverse
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import is_tracing, saturate
from medmamba_monai.networks.layers.semantic_scan import SemanticScan


class ConvFeedForward(nn.Module):
    """Two linear maps with GELU between, and a depthwise convolution added in the middle.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        hidden: width in the middle.
        kernel_size: odd size of the convolution.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> ConvFeedForward(2, 4, 8)(torch.zeros(1, 3, 3, 4)).shape
        torch.Size([1, 3, 3, 4])
    """

    def __init__(self, spatial_dims: int, channels: int, hidden: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.conv = Conv[Conv.CONV, spatial_dims](hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.fc1(x))
        near = F.gelu(self.conv(y.movedim(-1, 1))).movedim(1, -1)
        mixed: Tensor = self.fc2(saturate(y + near))
        return mixed


class ConvGate(nn.Module):
    """Two linear maps with GELU between; half of the middle is convolved and multiplies the other half.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        hidden: width in the middle, even.
        kernel_size: odd size of the convolution.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> ConvGate(2, 4, 8)(torch.zeros(1, 3, 3, 4)).shape
        torch.Size([1, 3, 3, 4])
    """

    def __init__(self, spatial_dims: int, channels: int, hidden: int, kernel_size: int = 5) -> None:
        super().__init__()
        half = hidden // 2
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(half, channels)
        self.norm = nn.LayerNorm(half)
        self.conv = Conv[Conv.CONV, spatial_dims](half, half, kernel_size, padding=kernel_size // 2, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        y, gate = F.gelu(self.fc1(x)).chunk(2, -1)
        gate = self.conv(self.norm(gate).movedim(-1, 1)).movedim(1, -1)
        mixed: Tensor = self.fc2(saturate(y * gate))
        return mixed


class AttentiveLayer(nn.Module):
    """Attention in windows and an MLP, then a `SemanticScan` and an MLP, with scaled skips around both halves.

    MambaIRv2 (arXiv 2411.15269), figure 4.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        heads: heads of the attention, a divisor of the channels.
        window_size: side of a window.
        shift: move the windows by half their side.
        mlp_ratio: width of the MLPs over the channels; that of the scan too.
        kernel_size: odd size of the convolutions in the MLPs.
        gated: `ConvGate` for MLP instead of `ConvFeedForward`.
        arguments: those of `SemanticScan`.

    Shape:
        x (B, *S, channels), channels last, S multiples of the window's side; mask as of MONAI's ``compute_mask``.
        Returns the shape of x.

    Example:
        >>> AttentiveLayer(2, 8, 2, 4, False)(torch.zeros(1, 4, 8, 8), None).shape
        torch.Size([1, 4, 8, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        heads: int,
        window_size: int,
        shift: bool,
        mlp_ratio: float = 2.0,
        kernel_size: int = 5,
        gated: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.window = (window_size,) * spatial_dims
        self.shifts = (window_size // 2 if shift else 0,) * spatial_dims
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.norm3, self.norm4 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.scale1 = nn.Parameter(torch.full((channels,), 1e-4))
        self.scale2 = nn.Parameter(torch.full((channels,), 1e-4))
        self.attention = WindowAttention(channels, heads, self.window, qkv_bias=True)
        # it follows from the window's side, so checkpoints do without it
        index = self.attention.get_buffer("relative_position_index")
        self.attention.register_buffer("relative_position_index", index, persistent=False)
        self.mixer = SemanticScan(channels, spatial_dims, expand=mlp_ratio, **arguments)
        mlp, hidden = ConvGate if gated else ConvFeedForward, int(channels * mlp_ratio)
        self.mlp1, self.mlp2 = (mlp(spatial_dims, channels, hidden, kernel_size) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = saturate(x + self._attend(self.norm1(x), mask))
        y = saturate(y + self.mlp1(self.norm2(y)))
        x = saturate(x * self.scale1 + y)
        y = saturate(x + self.mixer(self.norm3(x)))
        y = saturate(y + self.mlp2(self.norm4(y)))
        return saturate(x * self.scale2 + y)

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        axes, back = tuple(range(1, x.dim() - 1)), tuple(-n for n in self.shifts)
        moved = x.roll(back, axes) if any(self.shifts) else x
        windows = window_partition(moved.contiguous(), self.window)  # type: ignore[no-untyped-call]
        windows = self.attention(windows, mask if any(self.shifts) else None).reshape(-1, *self.window, x.shape[-1])
        y: Tensor = window_reverse(windows, self.window, x.shape[:-1])  # type: ignore[no-untyped-call]
        return y.roll(self.shifts, axes) if any(self.shifts) else y


def mirror_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Continue an image (B, C, *S) at the end of its axes by its mirror image, border included, to multiples.

    Example:
        >>> mirror_to_multiple(torch.arange(3.0).reshape(1, 1, 1, 3), 4).flatten(1)[0, :4].tolist()
        [0.0, 1.0, 2.0, 2.0]
    """
    for axis in range(2, x.dim()):
        n = x.shape[axis]
        # a trace must hold for sizes that need it too
        if n % multiple or is_tracing():
            place = torch.arange(n + -n % multiple, device=x.device) % (2 * n)
            x = x.index_select(axis, torch.minimum(place, 2 * n - 1 - place))
    return x
