"""Mamba-UNet: a U-Net of VSS blocks with concatenated skips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.decoders import ExpandDecoder, ExpandHead
from medmamba_monai.networks.blocks.vss import VSSEncoder, drop_paths, init_linear, vss_stage
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


class MambaUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes by VSS blocks.

    Mamba-UNet (arXiv 2402.05079), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        depths: blocks of each stage, in the encoder and, but for the last, in the decoder.
        dims: channels of each stage, each twice the one before, at least two.
        patch_size: side of a patch.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a mixer next to the bottleneck; it falls linearly to 0 towards the image.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = MambaUNet(2, 1, 4, depths=[1, 1], dims=[8, 16])
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 4, 17, 20])

    Notes:
        The authors' code repeats an image of one channel to three; here set in_channels=1. Its skips are the inputs
        of the encoder's stages, not their results. It needs four stages and sizes divisible by 32; here any number of
        stages from two and any size work.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "acdc": Variant({"out_channels": 4, "depths": [2, 2, 2, 2]}, 19_121_664),
            "deep": Variant({"out_channels": 4, "depths": [2, 2, 9, 2]}, 35_862_528),
        }
    )
    source: ClassVar[Source] = Source(
        "Mamba-UNet: UNet-Like Pure Visual Mamba for Medical Image Segmentation (arXiv 2402.05079)",
        "https://github.com/ziyangwang007/Mamba-UNet @ dfe92ba",
        NO_FILE,
        "outputs and gradients of a small network; parameter counts of two configurations",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 4,
        depths: Sequence[int] = (2, 2, 2, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        patch_size: int = 4,
        order: str = "cross",
        d_state: int = 16,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        block: dict[str, Any] = {"order": order, "d_state": d_state}
        self.encoder = VSSEncoder(
            spatial_dims, in_channels, depths, dims, patch_size, drop_path_rate=drop_path_rate, **block
        )
        rates = drop_paths(drop_path_rate, depths)
        stages = [vss_stage(spatial_dims, dims[i], rates[i], **block) for i in reversed(range(len(dims) - 1))]
        self.norm = nn.LayerNorm(dims[-1])
        self.decoder = ExpandDecoder(spatial_dims, dims, stages, "concat")
        self.norm_up = nn.LayerNorm(dims[0])
        self.head = ExpandHead(spatial_dims, dims[0], dims[0], out_channels, patch_size, bias=False)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        *skips, deepest = self.encoder.stage_inputs(x)
        grids = self.decoder(self.norm(deepest), skips)
        logits: Tensor = self.head(self.norm_up(grids[-1]), x.shape[2:])
        return logits
