"""SegMamba: a convolutional pyramid with tri-orientated Mamba and the decoder of UNETR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import ClassVar

from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.decoders import UnetrUp, unetr_block
from medmamba_monai.networks.blocks.patches import pad_to_multiple
from medmamba_monai.networks.blocks.seg_mamba import ChannelMlp, SpatialConv, TriOrientedBlock
from medmamba_monai.networks.blocks.u_mamba import InstanceNorm
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class SegMamba(PublishedNetwork):
    """Segment 3D volumes (or 2D images) with Mamba along rows, back, and across slices.

    SegMamba (arXiv 2401.13560), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included; 1 gives logits of one class.
        features: channels of each stage, from half resolution down.
        depths: Mamba blocks of each stage.
        hidden_size: channels of the deepest map in the decoder.
        slices: number of slices in each stage; None takes them from the map, so that every crop size works.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolutions.
        expand: inner width of Mamba over its channels.
        use_checkpoint: while training, compute the encoder's blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range, lists differ in length, or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = SegMamba(3, 1, 2, features=[4, 8], depths=[1, 1], hidden_size=8)
        >>> net(torch.zeros(1, 1, 9, 12, 10)).shape
        torch.Size([1, 2, 9, 12, 10])

    Notes:
        The authors' code fixes the number of slices to 64, 32, 16 and 8, which are slices for crops of 128 voxels
        only; ``slices=[64, 32, 16, 8]`` gives its numbers for crops of other sizes too. Odd maps are padded with
        zeros before they are halved. The authors' first width must be 48; here it is free.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "brats": Variant({"spatial_dims": 3, "in_channels": 4, "out_channels": 4}, 67_416_196),
            "defaults": Variant({"spatial_dims": 3, "in_channels": 1, "out_channels": 13}, 67_363_213),
        }
    )
    source: ClassVar[Source] = Source(
        "SegMamba: Long-range Sequential Modeling Mamba For 3D Medical Image Segmentation (arXiv 2401.13560)",
        "https://github.com/ge-xing/SegMamba @ cff3597",
        "none found in the repository; this package copies nothing",
        "output and gradients of a small network; parameter counts of two sizes",
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        features: Sequence[int] = (48, 96, 192, 384),
        depths: Sequence[int] = (2, 2, 2, 2),
        hidden_size: int = 768,
        slices: Sequence[int] | None = None,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels, hidden_size=hidden_size)
        stages = len(features)
        per_stage("features", features, stages)
        counts = [None] * stages if slices is None else per_stage("slices", slices, stages)
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        conv = Conv[Conv.CONV, spatial_dims]
        self.stem = conv(in_channels, features[0], 7, 2, 3)
        self.downs = nn.ModuleList(conv(a, b, 2, 2) for a, b in pairwise(features))
        self.down_norms = nn.ModuleList(InstanceNorm(width, affine=False) for width in features[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                SpatialConv(spatial_dims, width),
                *(TriOrientedBlock(width, count, d_state, d_conv, expand) for _ in range(depth)),
            )
            for width, depth, count in zip(features, per_stage("depths", depths, stages), counts, strict=True)
        )
        self.out_norms = nn.ModuleList(InstanceNorm(width, affine=False) for width in features)
        self.mlps = nn.ModuleList(ChannelMlp(spatial_dims, width) for width in features)
        widths = (*features, hidden_size)
        self.skips = nn.ModuleList(unetr_block(spatial_dims, a, b) for a, b in pairwise((in_channels, *widths)))
        self.ups = nn.ModuleList(UnetrUp(spatial_dims, b, a, a) for a, b in reversed(list(pairwise(widths))))
        self.last = unetr_block(spatial_dims, widths[0], widths[0])
        self.head = conv(widths[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        x = saturate(x)
        maps = (x, *self.encode(x))
        skips = [skip(given) for skip, given in zip(self.skips, maps, strict=True)]
        y = skips.pop()
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            y = up(y, skip)
        return saturate(in_float32(self.head, self.last(y)))

    def encode(self, x: Tensor) -> list[Tensor]:
        """The map of each stage, normalised and through its MLP, from half resolution down."""
        maps = []
        for i, stage in enumerate(self.stages):
            if i == 0:
                x = saturate(self.stem(x))
            else:
                normed = pad_to_multiple(self.down_norms[i - 1](x), 2, first_axis=2)
                x = saturate(self.downs[i - 1](normed))
            x = run(stage, x, use_checkpoint=self.use_checkpoint)
            maps.append(self.mlps[i](self.out_norms[i](x)))
        return maps
