"""Microscopic-Mamba: light classification of microscopic images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import nn

from medmamba_monai.networks.blocks.arguments import check_choice
from medmamba_monai.networks.blocks.microscopic import MicroscopicBlock, PartialMixer
from medmamba_monai.networks.blocks.patches import OverlapPatchEmbed, PatchMerging
from medmamba_monai.networks.blocks.pyramid import Pyramid
from medmamba_monai.networks.blocks.vss import check_encoder_arguments, drop_paths, init_linear
from medmamba_monai.networks.nets.classifier import PyramidClassifier
from medmamba_monai.networks.nets.variant import NO_FILE, Source, Variant

_SMALL_DIMS, _BASE_DIMS = [96, 192, 384, 768], [128, 256, 512, 1024]


class MicroscopicMamba(PyramidClassifier):
    """Classify 2D images or 3D volumes, or give a pyramid of features to another network.

    Microscopic-Mamba (arXiv 2409.07896), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        depths: blocks of each stage.
        dims: channels of each stage, multiples of 16 from 32 on, each twice the one before.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        design: "sound", or "released" for what the authors' checkpoints need: the feed-forward network inside each
            mixer swaps height and width, so that its result is added to its transposed input; grids must be square.
        drop_path_rate: chance to drop a scan in the last block; it grows linearly from 0 over the blocks.
        features_only: return the stages' maps; there is no head then.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, num_classes), or with ``features_only`` a list of maps
        (B, dims[i], *S_i), the highest resolution first.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = MicroscopicMamba(2, 1, 3, depths=[1, 1], dims=[32, 64]).eval()
        >>> net(torch.zeros(2, 1, 28, 30)).shape
        torch.Size([2, 3])

    Notes:
        The counts of the authors' code are larger (4.32, 4.97 and 9.41 million for 1000 classes): it also holds, for
        each block, a linear map behind the scans and the mixer's output projection that it never uses; they are not
        built here, and `medmamba_monai.weights.convert` leaves them out. Odd grids are padded with zeros; the authors'
        code crops them.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": Variant({"depths": [2, 2, 4, 2], "dims": _SMALL_DIMS}, 3_795_902),
            "small": Variant({"depths": [2, 2, 8, 2], "dims": _SMALL_DIMS}, 4_279_650),
            "base": Variant({"depths": [2, 2, 12, 2], "dims": _BASE_DIMS}, 7_880_458),
        }
    )
    source: ClassVar[Source] = Source(
        "Microscopic-Mamba: Revealing the Secrets of Microscopic Images with Just 4M Parameters (arXiv 2409.07896)",
        "https://github.com/zs1314/Microscopic-Mamba @ 8ee034b",
        NO_FILE,
        "parameter counts of three sizes, which with the unused layers are those of the authors' code",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        depths: Sequence[int] = (2, 2, 4, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        order: str = "cross",
        d_state: int = 16,
        design: str = "sound",
        drop_path_rate: float = 0.1,
        features_only: bool = False,
    ) -> None:
        check_encoder_arguments(spatial_dims, in_channels, depths, dims, drop_path_rate)
        check_choice("design", design, ("sound", "released"))
        mixer = {"order": order, "d_state": d_state, "transpose": design == "released"}
        stages = [
            nn.Sequential(*(MicroscopicBlock(spatial_dims, width, rate, **mixer) for rate in rates))
            for width, rates in zip(dims, drop_paths(drop_path_rate, depths), strict=True)
        ]
        merges = [PatchMerging(spatial_dims, width) for width in dims[:-1]]
        embed = OverlapPatchEmbed(spatial_dims, in_channels, dims[0], 4, "batch", bias=False)
        encoder = Pyramid(spatial_dims, in_channels, dims, embed, stages, merges)
        super().__init__(encoder, nn.Identity(), num_classes, features_only)
        self.apply(_start)


def _start(module: nn.Module) -> None:
    """The authors' start: `init_linear`, and convolutions as He et al. by fan out."""
    init_linear(module)
    pointwise = module.mixer.out_proj if isinstance(module, PartialMixer) else module
    if isinstance(pointwise, (nn.Conv2d, nn.Conv3d)) or isinstance(module, PartialMixer):
        assert isinstance(pointwise.weight, torch.Tensor)
        nn.init.kaiming_normal_(pointwise.weight, mode="fan_out", nonlinearity="relu")
