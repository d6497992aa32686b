"""HC-Mamba: a U-Net of blocks with a convolved and a scanned half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive, per_stage
from medmamba_monai.networks.blocks.decoders import ExpandDecoder, ExpandHead
from medmamba_monai.networks.blocks.hybrid_conv import HCSSM
from medmamba_monai.networks.blocks.patches import PatchEmbed, PatchMerging
from medmamba_monai.networks.blocks.pyramid import Pyramid
from medmamba_monai.networks.blocks.vss import check_encoder_arguments, drop_paths, init_linear
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class HCMamba(PublishedNetwork):
    """Segment 2D images or 3D volumes by dilated convolutions and scans side by side.

    HC-Mamba (arXiv 2405.05007), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        depths: blocks of each encoder stage.
        depths_decoder: blocks of each decoder stage, from the lowest resolution up.
        dims: channels of each stage, even, each twice the one before.
        dilations: distance of the taps of the dilated convolutions of each stage.
        patch_size: side of a patch.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a scan next to the bottleneck; it falls linearly to 0 towards both ends.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = HCMamba(2, 1, 2, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16], dilations=[1, 2]).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        There is no public code. Built from the paper's text: patch embedding, stages with patch merging, a mirrored
        decoder with added skips, the split of the channels and the shuffle behind both halves, a dilated convolution
        in front of a depthwise separable one, and a cycle of dilations without common divisor. Ambiguous, and chosen
        here: the number of blocks and channels of the stages, those of VM-UNet; the dilations by stage instead of by
        block; one separable convolution a block; batch norms where MedMamba has them. The paper prints 13.88 million
        parameters, which this choice does not give.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"isic": Variant({}, 17_671_993), "synapse": Variant({"out_channels": 9}, 17_672_193)}
    )
    source: ClassVar[Source] = Source(
        "HC-Mamba: Vision MAMBA with Hybrid Convolutional Techniques for Medical Image Segmentation (arXiv 2405.05007)",
        "none",
        "no code was published",
        "built from the paper's text; nothing to compare with",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        depths: Sequence[int] = (2, 2, 2, 2),
        depths_decoder: Sequence[int] = (2, 2, 2, 1),
        dims: Sequence[int] = (96, 192, 384, 768),
        dilations: Sequence[int] = (1, 2, 3, 1),
        patch_size: int = 4,
        order: str = "cross",
        d_state: int = 16,
        drop_path_rate: float = 0.2,
    ) -> None:
        super().__init__()
        check_encoder_arguments(spatial_dims, in_channels, depths, dims, drop_path_rate)
        check_positive(out_channels=out_channels, patch_size=patch_size)
        per_stage("depths_decoder", depths_decoder, len(dims))
        spread = per_stage("dilations", dilations, len(dims))
        scan: dict[str, Any] = {"order": order, "d_state": d_state}

        def stage(level: int, rates: Sequence[float]) -> nn.Module:
            blocks = (HCSSM(spatial_dims, dims[level], spread[level], drop_path=rate, **scan) for rate in rates)
            return nn.Sequential(*blocks)

        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        stages = [stage(level, rates) for level, rates in enumerate(drop_paths(drop_path_rate, depths))]
        merges = [PatchMerging(spatial_dims, width) for width in dims[:-1]]
        embed = PatchEmbed(spatial_dims, in_channels, dims[0], patch_size)
        self.encoder = Pyramid(spatial_dims, in_channels, dims, embed, stages, merges)
        rates = [[drop_path_rate - rate for rate in stage] for stage in drop_paths(drop_path_rate, depths_decoder)]
        levels = reversed(range(len(dims)))
        bottom, *ups = (stage(level, found) for level, found in zip(levels, rates, strict=True))
        self.bottom = bottom
        self.decoder = ExpandDecoder(spatial_dims, dims, ups, "add")
        hidden = max(dims[0] // patch_size, 1)
        self.head = ExpandHead(spatial_dims, dims[0], hidden, out_channels, patch_size)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        *skips, deepest = self.encoder.stage_inputs(x)
        grids = self.decoder(self.bottom(deepest), skips)
        logits: Tensor = self.head(grids[-1], x.shape[2:])
        return logits
