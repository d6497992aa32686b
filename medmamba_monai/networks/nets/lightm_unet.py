"""LightM-UNet: a light U-Net whose encoder is made of Mamba layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.light_mamba import (
    ResidualMambaBlock,
    ScaledMambaLayer,
    SeparableConv,
    SeparableUpBlock,
)
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


def _size(spatial_dims: int, in_channels: int, out_channels: int, filters: int) -> dict[str, Any]:
    return {
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "init_filters": filters,
    }


class LightMUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes with few parameters.

    LightM-UNet (arXiv 2403.05246), figure 2. Channels double and maps halve from stage to stage; skips are added.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included; 1 gives logits of one class.
        init_filters: channels at full resolution, divisible by ``groups``.
        blocks_down: residual Mamba blocks of each encoder stage, from full resolution down.
        blocks_up: blocks of each decoder stage, from the lowest resolution up: one entry fewer than ``blocks_down``.
        groups: groups of the group norms.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range, lists differ in length, or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = LightMUNet(2, 1, 2, init_filters=8, blocks_down=[1, 1], blocks_up=[1])
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        The network is that of the authors' code. Its 5.0 million parameters in the authors' training setup are not
        the 1.09 (2D) and 1.87 million (3D) that the paper prints; no commit of the code gives those. The code takes
        sizes only that 2 divides in every stage; here the last row of an odd map is pooled alone, and maps are
        upsampled to the skip's size.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "class_default_3d": Variant(_size(3, 1, 2, 8), 381_813),
            "trainer_2d": Variant(_size(2, 3, 2, 32), 5_011_765),
            "trainer_3d": Variant(_size(3, 1, 2, 32), 5_015_733),
        }
    )
    source: ClassVar[Source] = Source(
        "LightM-UNet: Mamba Assists in Lightweight UNet for Medical Image Segmentation (arXiv 2403.05246)",
        "https://github.com/MrBlankness/LightM-UNet @ 6b72e27",
        "Apache-2.0",
        "outputs and gradients of a small network in 3D; parameter counts of the class's and the trainers' sizes",
    )

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        init_filters: int = 32,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
        blocks_up: Sequence[int] = (1, 1, 1),
        groups: int = 8,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels, init_filters=init_filters, groups=groups)
        if init_filters % groups:
            raise ValueError(f"init_filters is {init_filters}: make it divisible by groups, which is {groups}")
        stages = len(blocks_down)
        if stages < 2:
            raise ValueError(f"blocks_down has {stages} entries: give at least 2, one a stage")
        down, up = per_stage("blocks_down", blocks_down, stages), per_stage("blocks_up", blocks_up, stages - 1)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        features = [init_filters * 2**stage for stage in range(stages)]
        mamba = (d_state, d_conv, expand)
        self.stem = SeparableConv(spatial_dims, in_channels, init_filters)
        self.downs = nn.ModuleList(
            ScaledMambaLayer(shallow, deep, *mamba) for shallow, deep in zip(features, features[1:], strict=False)
        )
        self.pool = Pool[Pool.MAX, spatial_dims](2, 2, ceil_mode=True)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(ResidualMambaBlock(width, groups, mamba) for _ in range(depth)))
            for width, depth in zip(features, down, strict=True)
        )
        conv = Conv[Conv.CONV, spatial_dims]
        widths = features[-2::-1]
        self.ups = nn.ModuleList(conv(2 * width, width, 1, bias=False) for width in widths)
        self.decoder = nn.ModuleList(
            nn.Sequential(*(SeparableUpBlock(spatial_dims, width, groups) for _ in range(depth)))
            for width, depth in zip(widths, up, strict=True)
        )
        self.norm = nn.GroupNorm(groups, init_filters)
        self.head = SeparableConv(spatial_dims, init_filters, out_channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        skips = self.encode(saturate(x))
        y = skips.pop()
        for up, stage in zip(self.ups, self.decoder, strict=True):
            skip = skips.pop()
            mode = "bilinear" if self.spatial_dims == 2 else "trilinear"
            y = F.interpolate(saturate(up(y)), size=skip.shape[2:], mode=mode, align_corners=False)
            y = stage(saturate(y + skip))
        logits: Tensor = in_float32(self.head, F.relu(self.norm(y)))
        return saturate(logits)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The map of each stage, full resolution first."""
        maps = [self.encoder[0](in_float32(self.stem, x))]
        for down, stage in zip(self.downs, list(self.encoder)[1:], strict=True):
            maps.append(stage(self.pool(down(maps[-1]))))
        return maps
