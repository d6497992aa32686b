"""CAMS-Net: a U-Net of Mamba over places and channels, without convolution and attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.cams import Aggregator, FactorizedMamba, TwoWayAggregator
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.patches import PatchEmbed, crop, pad_to_multiple
from medmamba_monai.networks.blocks.registration import sinusoidal_positions
from medmamba_monai.networks.layers.precision import autocast_dtype, in_float32, saturate, without_autocast
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source


class CAMSNet(PublishedNetwork):
    """Segment 2D images or 3D volumes, made for the heart in MR.

    CAMS-Net (arXiv 2406.05786), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included; 1 gives logits of one class.
        features: channels of each stage, the first at half resolution.
        spatial_stages: number of the deepest stages that have the spatial aggregator.
        img_size: size of the training images, a number or one an axis, from which the spatial aggregators' grids
            follow; other sizes work too.
        dropout: chance to drop a number while training.
        d_state: numbers in the state of each channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.
        use_checkpoint: while training, compute the stages again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = CAMSNet(2, 1, 3, features=[4, 8], spatial_stages=1, img_size=16).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 3, 17, 20])

    Notes:
        The authors' layers take images of one size and three equal channels; here maps are resized where a grid is
        fixed, and images are padded with zeros to whole patches of the lowest stage. The patches are projected by a
        convolution without overlap, which is a linear map of each. Under float16 the network computes in float32.
    """

    source: ClassVar[Source] = Source(
        "CAMS: Convolution and Attention-Free Mamba-based Cardiac Image Segmentation (arXiv 2406.05786)",
        "https://github.com/kabbas570/CAMS-Net @ 132f729",
        NO_FILE,
        "nothing against the authors' numbers: built from the paper and its code's structure, checked by the contract",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 4,
        features: Sequence[int] = (64, 128, 256, 512, 1024),
        spatial_stages: int = 2,
        img_size: int | Sequence[int] = 160,
        dropout: float = 0.1,
        d_state: int = 2,
        d_conv: int = 4,
        expand: float = 1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels)
        stages = len(features)
        per_stage("features", features, stages)
        if stages < 2 or not 0 <= spatial_stages < stages:
            raise ValueError(f"spatial_stages is {spatial_stages} of {stages} stages: give at least 2 stages and fewer")
        size = per_stage("img_size", img_size, spatial_dims)
        grids = [[-(-n // 2 ** (i + 1)) for n in size] for i in range(stages)]
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.multiple = 2**stages
        mamba = (d_state, d_conv, expand)

        def aggregator(stage: int, before: int) -> Aggregator:
            grid = grids[stage] if stage >= stages - spatial_stages else None
            return Aggregator(before, features[stage], grid, dropout, mamba)

        self.patch_embed = PatchEmbed(spatial_dims, in_channels, features[0], 2, norm=False)
        before = [features[0], *features[:-1]]
        self.encoder = nn.ModuleList(TwoWayAggregator(aggregator(i, before[i])) for i in range(stages))
        upwards = list(reversed(range(stages - 1)))
        self.decoder = nn.ModuleList(aggregator(i, features[i] + features[i + 1]) for i in upwards)
        self.last = Aggregator(2 * features[0], features[0], None, dropout, mamba)
        self.head = nn.Linear(features[0], out_channels)
        self.head_scan = FactorizedMamba(features[0], out_channels, 0.0, mamba, is_last=True)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float())
        tokens = self.patch_embed(pad_to_multiple(x, self.multiple, first_axis=2))
        tokens = tokens + sinusoidal_positions(tokens.shape[1:-1], tokens)
        y, skips = tokens, []
        for i, stage in enumerate(self.encoder):
            y = self._run(stage, self._halve(y) if i else y)
            skips.append(y)
        skips.pop()
        for stage in self.decoder:
            y = self._run(stage, torch.cat((skips.pop(), self._double(y)), -1))
        y = self._run(self.last, torch.cat((self._double(tokens), self._double(y)), -1))
        logits = in_float32(self.head, y) + self.head_scan(y.flatten(1, -2)).reshape(*y.shape[:-1], -1)
        return saturate(crop(logits.movedim(-1, 1), x.shape[2:], first_axis=2))

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        return run(stage, x, use_checkpoint=self.use_checkpoint)

    def _halve(self, x: Tensor) -> Tensor:
        pool = F.avg_pool2d if self.spatial_dims == 2 else F.avg_pool3d
        return pool(x.movedim(-1, 1), 2).movedim(1, -1)

    def _double(self, x: Tensor) -> Tensor:
        mode = "bilinear" if self.spatial_dims == 2 else "trilinear"
        return F.interpolate(x.movedim(-1, 1), scale_factor=2.0, mode=mode, align_corners=True).movedim(1, -1)
