"""High-order scans: a product of several selective scans, each gating the next."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.vss import Mlp
from medmamba_monai.networks.layers.precision import autocast_dtype, saturate, without_autocast
from medmamba_monai.networks.layers.scan_mixer import ScanMixer


class LocalScanMixer(nn.Module):
    """Convolve one half of the channels, scan the other, and interleave both between two norms.

    H-vmunet (arXiv 2403.13642), figure 3 (Local-SS2D).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token, even.
        scan: arguments of `ScanMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> LocalScanMixer(2, 8)(torch.zeros(1, 5, 4, 8)).shape
        torch.Size([1, 5, 4, 8])
    """

    def __init__(self, spatial_dims: int, channels: int, **scan: Any) -> None:
        super().__init__()
        half = channels // 2
        self.pre_norm, self.post_norm = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.conv = Conv[Conv.CONV, spatial_dims](half, half, 3, padding=1, groups=half, bias=False)
        self.mixer = ScanMixer(half, spatial_dims, **scan)

    def forward(self, x: Tensor) -> Tensor:
        local, distant = self.pre_norm(x).chunk(2, -1)
        local = self.conv(local.movedim(-1, 1)).movedim(1, -1)
        mixed: Tensor = self.post_norm(torch.stack((local, self.mixer(distant)), -1).flatten(-2))
        return mixed


class HighOrderMixer(nn.Module):
    """Multiply scans of growing width step by step: x = scan(widen(x) * gate), as many times as the degree says.

    H-vmunet (arXiv 2403.13642), equations 3 to 6 (H-SS2D).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token, divisible by two to the power of the degree.
        degree: number of products, the order of the paper.
        scale: factor of the gates.
        scan: arguments of `ScanMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Raises:
        ValueError: when the channels cannot be halved often enough.

    Example:
        >>> HighOrderMixer(2, 8, degree=3)(torch.zeros(1, 5, 4, 8)).shape
        torch.Size([1, 5, 4, 8])

    Notes:
        Under float16 autocast the mixer computes in float32: its products leave float16's range.
    """

    def __init__(self, spatial_dims: int, channels: int, degree: int = 5, scale: float = 1 / 3, **scan: Any) -> None:
        super().__init__()
        check_positive(degree=degree)
        if channels % 2**degree:
            raise ValueError(f"channels is {channels}: degree {degree} needs a multiple of {2**degree}")
        self.widths = [channels // 2**i for i in reversed(range(degree))]
        self.scale = scale
        self.proj_in, self.proj_out = nn.Linear(channels, 2 * channels), nn.Linear(channels, channels)
        self.gates = LocalScanMixer(spatial_dims, sum(self.widths), **scan)
        self.scans = nn.ModuleList(ScanMixer(width, spatial_dims, **scan) for width in self.widths)
        pairs = zip(self.widths, self.widths[1:], strict=False)
        self.widen = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float())
        y, rest = self.proj_in(x).split((self.widths[0], sum(self.widths)), -1)
        gates = (self.gates(rest) * self.scale).split(self.widths, -1)
        y = self.scans[0](y * gates[0])
        for widen, gate, scan in zip(self.widen, gates[1:], list(self.scans)[1:], strict=True):
            y = scan(widen(y) * gate)
        mixed: Tensor = self.proj_out(y)
        return mixed


class HighOrderBlock(nn.Module):
    """x + g1 * mixer(norm(x)), then x + g2 * mlp(norm(x)), with learned factors g of each channel.

    H-vmunet (arXiv 2403.13642), figure 2 (H-VSS block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        degree: see `HighOrderMixer`.
        drop_path: chance to drop a branch for a sample while training.
        layer_scale: start of the factors g.
        scan: arguments of `ScanMixer`.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> HighOrderBlock(2, 8, 2)(torch.zeros(1, 8, 5, 4)).shape
        torch.Size([1, 8, 5, 4])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        degree: int,
        drop_path: float = 0.0,
        layer_scale: float = 1e-6,
        **scan: Any,
    ) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.mixer = HighOrderMixer(spatial_dims, channels, degree, **scan)
        self.mlp = Mlp(spatial_dims, channels, 4 * channels)
        self.gamma1, self.gamma2 = (nn.Parameter(torch.full((channels,), layer_scale)) for _ in range(2))
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)
        x = saturate(x + self.drop_path(saturate(self.gamma1 * self.mixer(self.norm(x)))))
        x = saturate(x + self.drop_path(self.gamma2 * self.mlp(self.norm2(x))))
        return x.movedim(-1, 1)
