"""P-Mamba: stages of Mamba layers and of edge-keeping diffusion, for ultrasound of the heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.diffusion import DiffusionStage
from medmamba_monai.networks.blocks.fusion import LevelProject
from medmamba_monai.networks.blocks.vss import check_encoder_arguments, drop_paths
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


class PMamba(PublishedNetwork):
    """Segment noisy 2D images or 3D volumes.

    P-Mamba (arXiv 2402.08506), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        img_size: size of the training images, a number or one an axis; other sizes work too.
        depths: layers of each stage.
        dims: channels of each stage, each twice the one before.
        channels: channels of all levels in the decoder.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        drop_path_rate: chance to drop the last layer's branches; it grows linearly from 0 over the layers.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = PMamba(2, 1, 2, 16, [1, 1], [8, 16], 4).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        Built from the paper and from what the authors' code says of its encoder. Their decoder is not described: here
        each level is projected to the same channels, enlarged and concatenated, as in SegFormer. Their encoder pairs
        the two wavelet bands with the other axis of the divergence and gives its diffusion no gradient; here bands and
        axes match, as in the paper's equations, and the gradient passes. At the borders no flux leaves the image.
        Their sizes are fixed to 256 x 256; here positions are interpolated.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"default": Variant({}, 48_532_101)})
    source: ClassVar[Source] = Source(
        "P-Mamba: Marrying Perona Malik Diffusion with Mamba for Efficient Pediatric Echocardiographic Left "
        "Ventricular Segmentation (arXiv 2402.08506)",
        "https://github.com/yezizi1022/P-Mamba @ 59b447f",
        NO_FILE,
        "built from the paper and the encoder of the authors' code; nothing to compare with. The encoder has 47.8 "
        "million parameters, and 52.77 million are printed for the whole",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        img_size: int | Sequence[int] = 256,
        depths: Sequence[int] = (2, 2, 2, 2),
        dims: Sequence[int] = (128, 256, 512, 1024),
        channels: int = 256,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        check_encoder_arguments(spatial_dims, in_channels, depths, dims, drop_path_rate)
        check_positive(out_channels=out_channels, channels=channels)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        sizes = per_stage("img_size", img_size, spatial_dims)
        core: dict[str, Any] = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        self.encoder = nn.ModuleList()
        before, patch = in_channels, 4
        for width, rates in zip(dims, drop_paths(drop_path_rate, depths), strict=True):
            sizes = tuple(-(-n // patch) for n in sizes)
            self.encoder.append(DiffusionStage(spatial_dims, before, width, patch, sizes, rates, **core))
            before, patch = width, 2
        conv = Conv[Conv.CONV, spatial_dims]
        self.projections = nn.ModuleList(LevelProject(spatial_dims, width, channels) for width in dims)
        self.fuse = LevelProject(spatial_dims, channels * len(dims), channels)
        self.head = conv(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        y, levels = x, list[Tensor]()
        for stage, project in zip(self.encoder, self.projections, strict=True):
            y = stage(y)
            level = saturate(project(y))
            levels.append(level if not levels else self._resize(level, levels[0].shape[2:]))
        fused = F.relu(saturate(self.fuse(torch.cat(levels, 1))))
        return self._resize(saturate(in_float32(self.head, fused)), x.shape[2:])

    def _resize(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(x, size=tuple(size), mode="bilinear" if self.spatial_dims == 2 else "trilinear")
