"""MHS-VM's mixer: groups of channels that are scanned in patterns of their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import autocast_dtype, saturate, without_autocast
from medmamba_monai.networks.layers.scan_mixer import ScanMixer


class ScanHead(ScanMixer):
    """The scans of a `ScanMixer` without its projections, joined by the variation over the sequences.

    MHS-VM (arXiv 2406.05992), figure 1 (scan head) and equation 4.

    Args:
        channels: channels of the map.
        spatial_dims: 2 or 3.
        order: name of the scan order.
        d_state: numbers in the state of each channel.
        layer: number of the head, for orders that give each another path.
        threshold: what the coefficient of variation must exceed to count.

    Shape:
        u (B, channels, *S); returns the same shape.

    Example:
        >>> ScanHead(4)(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(
        self,
        channels: int,
        spatial_dims: int = 2,
        order: str = "cross",
        d_state: int = 16,
        layer: int = 0,
        threshold: float = 0.0,
    ) -> None:
        super().__init__(
            channels, spatial_dims, order, d_state, expand=1, gate=False, layer=layer, scan_merge="variation"
        )
        self.merge.threshold = threshold
        del self.in_proj, self.conv, self.out_norm, self.out_proj

    def forward(self, u: Tensor) -> Tensor:
        return self.scan(u)


class MultiHeadScan(nn.Module):
    """Project, convolve, scan groups of channels each in its pattern, normalise, project, normalise, gate.

    MHS-VM (arXiv 2406.05992), figures 1 and 2 and equations 2 to 5.

    Args:
        d_model: channels of a token.
        spatial_dims: 2 or 3.
        order: name of the scan order; "multi_head" gives each head another pattern, most others all the same.
        heads: number of groups, at most the number of channels.
        threshold: what the coefficient of variation over the sequences must exceed to count, not negative.
        d_state: numbers in the state of each channel.
        d_conv: odd kernel size of the depthwise convolution.
        layer: number of the layer; the heads count on from it where the order is not "multi_head".

    Shape:
        x (B, *S, d_model), channels last; returns the same shape.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> MultiHeadScan(8)(torch.zeros(2, 5, 4, 8)).shape
        torch.Size([2, 5, 4, 8])
    """

    def __init__(
        self,
        d_model: int,
        spatial_dims: int = 2,
        order: str = "multi_head",
        heads: int = 4,
        threshold: float = 0.0,
        d_state: int = 16,
        d_conv: int = 3,
        layer: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= heads <= d_model:
            raise ValueError(f"heads is {heads}: give a number from 1 to {d_model}, the channels")
        if threshold < 0:
            raise ValueError(f"threshold is {threshold}: a coefficient of variation is not negative; give at least 0")
        if d_conv < 1 or d_conv % 2 == 0:
            raise ValueError(f"d_conv is {d_conv}: use an odd kernel size, which keeps the grid's size")
        width = d_model // heads
        self.in_proj = nn.Linear(d_model, 2 * d_model, bias=False)
        self.conv = Conv[Conv.CONV, spatial_dims](d_model, d_model, d_conv, padding=d_conv // 2, groups=d_model)
        self.to_heads = nn.Linear(d_model, heads * width, bias=False)
        first = 0 if order == "multi_head" else layer
        self.heads = nn.ModuleList(
            ScanHead(width, spatial_dims, order, d_state, first + head, threshold) for head in range(heads)
        )
        self.head_norm = nn.LayerNorm(heads * width)
        self.from_heads = nn.Linear(heads * width, d_model, bias=False)
        self.out_norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        # Two norms in a row multiply gradients beyond float16's range.
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float())
        u, z = self.in_proj(x).chunk(2, -1)
        u = F.silu(self.conv(u.movedim(-1, 1))).movedim(1, -1)
        groups = self.to_heads(u).movedim(-1, 1).chunk(len(self.heads), 1)
        joined = torch.cat([head(group) for head, group in zip(self.heads, groups, strict=True)], 1).movedim(1, -1)
        y = self.out_norm(self.from_heads(self.head_norm(joined)))
        return saturate(y * F.silu(z))
