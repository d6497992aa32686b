"""EfficientVMamba: scans over lattices beside convolutions, and inverted residuals at low resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from torch import nn

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.efficient import EfficientVSSBlock, InvertedResidual
from medmamba_monai.networks.blocks.patches import PatchEmbed, PatchMerging
from medmamba_monai.networks.blocks.pyramid import Pyramid
from medmamba_monai.networks.blocks.vss import check_encoder_arguments, drop_paths, init_linear
from medmamba_monai.networks.nets.classifier import PyramidClassifier
from medmamba_monai.networks.nets.variant import Source, Variant


def _size(depth: int, first: int, parameters: int) -> Variant:
    return Variant({"depths": [2, 2, depth, 2], "dims": [first * 2**stage for stage in range(4)]}, parameters)


class EfficientVMamba(PyramidClassifier):
    """Classify 2D images or 3D volumes, or give a pyramid of features to another network.

    EfficientVMamba (arXiv 2403.09977), figure 2 and table 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        depths: blocks of each stage.
        dims: channels of each stage, each twice the one before.
        scan_stages: how many stages scan, from the highest resolution on; the others are inverted residuals.
        patch_size: side of a patch.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`; "atrous:2" reads four lattices of stride 2,
            each place once.
        d_state: numbers in the state of each channel.
        expand: inner width of the mixer over its channels.
        drop_path_rate: chance to drop the branches of the last block; it grows linearly from 0 over the blocks.
        features_only: return the stages' maps; there is no head then.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, num_classes), or with ``features_only`` a list of maps
        (B, dims[i], *S_i), the highest resolution first.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = EfficientVMamba(2, 1, 3, depths=[1, 1], dims=[8, 16], scan_stages=1).eval()
        >>> net(torch.zeros(2, 1, 28, 30)).shape
        torch.Size([2, 3])

    Notes:
        The authors' scan covers the whole grid with stride 2 only; with other strides it leaves memory unset. Here
        "atrous:3" has 9 lattices and reads every place. In 3D there are 8 lattices. The file of the authors' inverted
        residual is not part of their repository; it is that of the same group's LocalMamba. "small" starts with 64
        channels, which gives the 11 million parameters of the paper; the configuration file of that name says 96.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": _size(4, 48, 6_493_660),
            "small": _size(4, 64, 11_273_688),
            "base": _size(9, 96, 33_717_136),
        }
    )
    source: ClassVar[Source] = Source(
        "EfficientVMamba: Atrous Selective Scan for Light Weight Visual Mamba (arXiv 2403.09977)",
        "https://github.com/TerryPei/EfficientVMamba @ 03654e8",
        "Apache-2.0",
        "a small network against the equations, on the authors' names; sizes near the paper's",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        depths: Sequence[int] = (2, 2, 4, 2),
        dims: Sequence[int] = (48, 96, 192, 384),
        scan_stages: int = 2,
        patch_size: int = 4,
        order: str = "atrous:2",
        d_state: int = 16,
        expand: float = 2.0,
        drop_path_rate: float = 0.2,
        features_only: bool = False,
    ) -> None:
        check_encoder_arguments(spatial_dims, in_channels, depths, dims, drop_path_rate)
        check_positive(patch_size=patch_size, d_state=d_state)
        if not 0 <= scan_stages <= len(dims):
            raise ValueError(f"scan_stages is {scan_stages}: give a number from 0 to {len(dims)}, the stages")
        mixer = {"order": order, "d_state": d_state, "expand": expand}
        stages = []
        for i, (width, rates) in enumerate(zip(dims, drop_paths(drop_path_rate, depths), strict=True)):
            if i < scan_stages:
                blocks: list[nn.Module] = [EfficientVSSBlock(spatial_dims, width, rate, **mixer) for rate in rates]
            else:
                blocks = [InvertedResidual(spatial_dims, width, rate) for rate in rates]
            stages.append(nn.Sequential(*blocks))
        merges = [PatchMerging(spatial_dims, width) for width in dims[:-1]]
        embed = PatchEmbed(spatial_dims, in_channels, dims[0], patch_size)
        encoder = Pyramid(spatial_dims, in_channels, dims, embed, stages, merges)
        super().__init__(encoder, nn.LayerNorm(dims[-1]), num_classes, features_only)
        self.apply(init_linear)
