"""nnMamba: residual convolutions with a Mamba that all blocks of a layer share, for maps, classes and points."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.nn_mamba import (
    ChannelScale,
    DoubleConv,
    ResidualLayer,
    SiameseMambaBlock,
    expected_points,
)
from medmamba_monai.networks.layers.precision import autocast_dtype, in_float32, saturate, without_autocast
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant

_SOURCE = Source(
    "nnMamba: 3D Biomedical Image Segmentation, Classification and Landmark Detection with State Space Model "
    "(arXiv 2402.03526)",
    "https://github.com/lhaof/nnMamba @ 6fb35a3",
    "none found in the repository; this package copies nothing",
    "outputs and gradients of small networks and of the Mamba block; parameter counts",
)


class NnMamba(PublishedNetwork):
    """Segment 3D volumes (or 2D images), or give a heatmap for each landmark.

    nnMamba (arXiv 2402.03526), figure 1 (a) and (c).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included, or landmarks.
        channels: channels at half resolution; they double in each of the three layers.
        blocks: residual blocks of a layer, at least 2: from the second on they use the layer's Mamba.
        head: "logits" for a pointwise convolution; "released" for the authors' double convolution, whose batch norm
            and ReLU leave no negative logits.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.
        use_checkpoint: while training, compute the Mamba layers again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = NnMamba(2, 1, 3, channels=4, blocks=2).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape, net.locate(torch.zeros(1, 1, 17, 20)).shape
        (torch.Size([1, 3, 17, 20]), torch.Size([1, 3, 2]))

    Notes:
        For landmarks train the heatmaps against Gaussians, and take the points from `locate`. The authors' network
        for nnU-Net's trainer is another one: one scan, fixed sizes and side heads; it is not built here.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"released": Variant({"out_channels": 6, "head": "released"}, 15_944_958)}
    )
    source: ClassVar[Source] = _SOURCE

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: int = 32,
        blocks: int = 3,
        head: str = "logits",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("head", head, ("logits", "released"))
        check_positive(in_channels=in_channels, out_channels=out_channels, channels=channels, blocks=blocks)
        if blocks < 2:
            raise ValueError(f"blocks is {blocks}: give at least 2, the first block of a layer has no Mamba")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        widths = [channels * 2**i for i in range(4)]
        self.stem = DoubleConv(spatial_dims, in_channels, channels, 2)
        self.layers = nn.ModuleList(
            ResidualLayer(
                spatial_dims,
                width // 2,
                width,
                blocks,
                SiameseMambaBlock(spatial_dims, width, d_state, d_conv, expand, use_checkpoint=use_checkpoint),
            )
            for width in widths[1:]
        )
        self.scales = nn.ModuleList(ChannelScale(width) for width in widths[:3])
        self.fuses = nn.ModuleList(DoubleConv(spatial_dims, 3 * width, width) for width in reversed(widths[:3]))
        self.head: nn.Module = Conv[Conv.CONV, spatial_dims](channels, out_channels, 1)
        if head == "released":
            self.head = DoubleConv(spatial_dims, channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        maps = [self.stem(saturate(x))]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        y = maps.pop()
        for skip, scale, fuse in zip(reversed(maps), reversed(self.scales), self.fuses, strict=True):
            y = fuse(torch.cat((_resize(y, skip), scale(skip)), 1))
        return saturate(in_float32(self.head, _resize(y, x)))

    def locate(self, x: Tensor) -> Tensor:
        """Each landmark's mean place under its heatmap's softmax, in voxels: (B, out_channels, spatial_dims)."""
        return expected_points(self(x))


class NnMambaClassifier(PublishedNetwork):
    """Classify 3D volumes (or 2D images).

    nnMamba (arXiv 2402.03526), figure 1 (b).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes.
        channels: channels at half resolution; they double in each of the three layers.
        blocks: residual blocks of a layer.
        siamese: read the tokens four ways, as the paper says; the authors' code for classes reads them once.
        dropout: chance to drop a number in front of the last layer while training.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.
        use_checkpoint: while training, compute the Mamba layer again instead of keeping what is inside it.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, num_classes).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> NnMambaClassifier(2, 1, 3, channels=4, blocks=1).eval()(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 3])

    Notes:
        Only the map at half resolution goes through Mamba, as in the authors' code.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"released": Variant({"num_classes": 1, "siamese": False}, 12_876_321)}
    )
    source: ClassVar[Source] = _SOURCE

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_classes: int = 2,
        channels: int = 32,
        blocks: int = 3,
        siamese: bool = True,
        dropout: float = 0.5,
        d_state: int = 8,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, num_classes=num_classes, channels=channels, blocks=blocks)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.stem = DoubleConv(spatial_dims, in_channels, channels, 2)
        mamba = (d_state, d_conv, expand)
        self.mixer = SiameseMambaBlock(spatial_dims, channels, *mamba, siamese, use_checkpoint)
        widths = [channels * 2**i for i in range(1, 4)]
        self.layers = nn.ModuleList(ResidualLayer(spatial_dims, width // 2, width, blocks) for width in widths)
        hidden = nn.Linear(sum(widths), channels)
        self.head = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(dropout), nn.Linear(channels, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        if autocast_dtype(x) == torch.float16 and not self.training:
            # stored statistics do not bound an image of another scale, and gradients leave float16's range
            with without_autocast(x):
                return self.forward(x.float())
        y = self.stem(saturate(x))
        y = saturate(self.mixer(y) + y)
        means = []
        for layer in self.layers:
            y = layer(y)
            means.append(y.flatten(2).mean(2))
        return saturate(in_float32(self.head, torch.cat(means, 1)))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    """Linear interpolation to the size of another map."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear" if x.dim() == 4 else "trilinear", align_corners=False)
