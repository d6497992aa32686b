"""Attention on all skips of a U-Net at once, and the block that scans groups of channels with one shared Mamba."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import autocast_dtype, saturate, without_autocast


class AttentionBridge(nn.Module):
    """Weigh the places of each map and then its channels, the channels with a view of all maps.

    MALUNet (arXiv 2211.01784), section 2.3; used by UltraLight VM-UNet (arXiv 2403.20035) and H-vmunet
    (arXiv 2403.13642).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of each map.
        split_att: "fc" or "conv", the layer that makes each map's channel weights.

    Shape:
        a list of maps (B, channels[i], *S_i); returns the same shapes.

    Raises:
        ValueError: when the layer is of another kind.

    Example:
        >>> bridge = AttentionBridge(2, [4, 8])
        >>> [tuple(y.shape) for y in bridge([torch.zeros(1, 4, 6, 6), torch.zeros(1, 8, 3, 3)])]
        [(1, 4, 6, 6), (1, 8, 3, 3)]
    """

    def __init__(self, spatial_dims: int, channels: Sequence[int], split_att: str = "fc") -> None:
        super().__init__()
        check_choice("split_att", split_att, ("fc", "conv"))
        self.spatial_dims, self.split_att = spatial_dims, split_att
        self.places = Conv[Conv.CONV, spatial_dims](2, 1, 7, padding=9, dilation=3)
        self.mix = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        total = sum(channels)
        self.weights = nn.ModuleList(
            nn.Linear(total, c) if split_att == "fc" else nn.Conv1d(total, c, 1) for c in channels
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        seen = []
        for x in maps:
            summary = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
            seen.append(saturate(x + torch.sigmoid(saturate(self.places(summary))) * x))
        # the first attention's own part comes back after the second: seen is map + part
        parts = [saturate(s - x) for s, x in zip(seen, maps, strict=True)]
        pooled = torch.cat([s.flatten(2).mean(2) for s in seen], 1).unsqueeze(1)
        pooled = saturate(self.mix(saturate(pooled)))
        results = []
        for s, part, layer in zip(seen, parts, self.weights, strict=True):
            weight = layer(pooled).transpose(1, 2) if self.split_att == "fc" else layer(pooled.transpose(1, 2))
            weight = torch.sigmoid(weight).reshape(*weight.shape[:2], *(1,) * self.spatial_dims)
            results.append(saturate(weight * s + part))
        return results


class ParallelMamba(nn.Module):
    """Cut the channels in four groups, mix each with one shared Mamba, and project all to other channels.

    UltraLight VM-UNet (arXiv 2403.20035), figure 3 (PVM layer).

    Args:
        in_channels: channels of the input, divisible by four.
        out_channels: channels of the output.
        d_state: numbers in the state of each channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.

    Shape:
        x (B, in_channels, *S); returns (B, out_channels, *S).

    Raises:
        ValueError: when the channels are not divisible by four.

    Example:
        >>> ParallelMamba(8, 12)(torch.zeros(1, 8, 3, 5)).shape
        torch.Size([1, 12, 3, 5])

    Notes:
        As in the authors' code the skip inside a group adds the normalised input, not the input, and the same norm is
        applied again in front of the projection. Under float16 the layer computes in float32.
    """

    def __init__(
        self, in_channels: int, out_channels: int, d_state: int = 16, d_conv: int = 4, expand: float = 2
    ) -> None:
        super().__init__()
        if in_channels % 4:
            raise ValueError(f"in_channels is {in_channels}: the block cuts them in four groups; use a multiple of 4")
        self.norm = nn.LayerNorm(in_channels)
        self.mamba = Mamba(in_channels // 4, d_state, d_conv, expand)
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.proj = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float())
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        # the groups are independent sequences of one layer: one call with four times the batch
        groups = torch.cat(tokens.chunk(4, -1), 0)
        mixed = self.mamba(groups) + self.skip_scale * groups
        y: Tensor = self.proj(self.norm(torch.cat(mixed.chunk(4, 0), -1)))
        return y.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])
