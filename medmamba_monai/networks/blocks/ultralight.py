"""The frame of the light U-Nets: pooling, group norms, bilinear upsampling, added skips and a bridge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.bridge import AttentionBridge
from medmamba_monai.networks.layers.precision import in_float32, saturate


class LightUNet(nn.Module):
    """A U-Net of any stages: each encoder stage but the last is normed and pooled, each decoder stage upsampled.

    MALUNet (arXiv 2211.01784), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes.
        channels: channels of the stages.
        encoder: the stages, from the image down; stage i gives channels[i].
        decoder: the stages from the deepest up; the first gives channels[-2], the last channels[0].
        bridge: weigh the skips by `AttentionBridge`.
        split_att: "fc" or "conv", see there.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Example:
        >>> conv = lambda a, b: nn.Conv2d(a, b, 3, padding=1)
        >>> net = LightUNet(2, 1, 2, [4, 8], [conv(1, 4), conv(4, 8)], [conv(8, 4)])
        >>> net(torch.zeros(1, 1, 9, 8)).shape
        torch.Size([1, 2, 9, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        encoder: Sequence[nn.Module],
        decoder: Sequence[nn.Module],
        bridge: bool = True,
        split_att: str = "fc",
    ) -> None:
        super().__init__()
        check_light_arguments(spatial_dims, in_channels, out_channels, channels)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        skips = list(channels[:-1])
        self.encoder_norms = nn.ModuleList(nn.GroupNorm(4, c) for c in skips)
        self.decoder_norms = nn.ModuleList(nn.GroupNorm(4, c) for c in reversed(skips))
        self.bridge = AttentionBridge(spatial_dims, skips, split_att) if bridge else None
        self.head = Conv[Conv.CONV, spatial_dims](channels[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        size, skips = x.shape[2:], []
        x = saturate(x)
        for stage, norm in zip(self.encoder, self.encoder_norms, strict=False):
            x = F.gelu(_halve(norm(saturate(stage(x)))))
            skips.append(x)
        x = F.gelu(saturate(self.encoder[-1](x)))
        if self.bridge is not None:
            skips = self.bridge(skips)
        for stage, norm, skip in zip(self.decoder, self.decoder_norms, reversed(skips), strict=True):
            x = saturate(F.gelu(_resize(norm(saturate(stage(x))), skip.shape[2:])) + skip)
        logits = in_float32(self.head, x)
        return saturate(_resize(logits, size))


def check_light_arguments(spatial_dims: int, in_channels: int, out_channels: int, channels: Sequence[int]) -> None:
    """Refuse what no light U-Net can be built from.

    Raises:
        ValueError: naming the argument.
    """
    check_choice("spatial_dims", spatial_dims, (2, 3))
    check_positive(in_channels=in_channels, out_channels=out_channels)
    if len(channels) < 2:
        raise ValueError(f"channels is {list(channels)}: give at least two stages")
    per_stage("channels", channels, len(channels))
    if any(c % 4 for c in channels):
        raise ValueError(f"channels is {list(channels)}: norms work on four groups; use multiples of 4")


def init_light(module: nn.Module) -> None:
    """The authors' start: linear maps of deviation 0.02, convolutions as He et al. by fan out, biases 0.

    Only linear maps and convolutions of the frame: a Mamba's own values are kept, see the networks' notes.
    """
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _halve(x: Tensor) -> Tensor:
    """Largest of each two by two; an odd row or column at the end counts alone."""
    pool = F.max_pool2d if x.dim() == 4 else F.max_pool3d
    return pool(x, 2, 2, ceil_mode=True)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation with the corners in place; nothing where the size is right already."""
    mode = "bilinear" if x.dim() == 4 else "trilinear"
    return torch.nn.functional.interpolate(x, size=tuple(size), mode=mode, align_corners=True)
