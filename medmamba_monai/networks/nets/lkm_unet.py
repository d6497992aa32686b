"""LKM-UNet: nnU-Net's residual U-Net with Mamba of large windows all along the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import nn

from medmamba_monai.networks.blocks.arguments import check_choice, per_stage_and_axis
from medmamba_monai.networks.blocks.large_kernel_mamba import LargeKernelMamba
from medmamba_monai.networks.blocks.u_mamba import NameOrPair
from medmamba_monai.networks.nets.umamba import UMamba
from medmamba_monai.networks.nets.variant import Source, Variant

_SIDES = {2: (5, 5), 3: (5, 7, 6)}


class LKMUNet(UMamba):
    """Segment 2D images or 3D volumes with convolutions and Mamba in large windows.

    LKM-UNet (arXiv 2403.07332), figure 1. The network is nnU-Net's residual U-Net; after every encoder stage Mamba
    mixes the voxels inside windows, both ways, and then a pooled map as a whole.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included; 1 gives logits of one class.
        features: channels of each stage, from full resolution down.
        strides: stride of each stage, a number or one an axis; default 1 and then 2.
        kernel_sizes: odd kernel size of each stage, a number or one an axis.
        n_blocks: residual blocks of each encoder stage.
        n_decoder_blocks: residual blocks of each decoder stage, from the lowest resolution up.
        windows: sides of the windows in each stage, a number or one an axis; by default those of the authors' code,
            (5, 5) or (5, 7, 6) times a power of two that falls along the encoder.
        design: "paper" for windows of neighbours, "released" for the voxels that the authors' code joins instead.
        deep_supervision: while training, return one output a decoder stage.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.
        norm: MONAI's name of the norm, or (name, arguments).
        act: MONAI's name of the activation, or (name, arguments).

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S). With deep supervision and in training mode a
        list of such tensors, full resolution first, each next one at the resolution of its decoder stage.

    Raises:
        ValueError: when an argument is out of range, lists differ in length, or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = LKMUNet(2, 1, 2, features=[8, 16], n_blocks=1, n_decoder_blocks=1)
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        The paper describes windows of neighbouring voxels. The authors' code joins the voxels at the same place of
        all windows, and where the windows do not divide the map it scans the whole map at once, so that the same
        weights compute something else at another size. Their checkpoints need ``design="released"``. With "paper"
        maps are padded with zeros to whole windows. Both pool by averages, as the code does. The authors start the
        last norm of each residual block at zero, so that the block's convolutions first learn in the second step;
        here it starts at one, as in U-Mamba.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "abdomen_2d": Variant(
                {
                    "spatial_dims": 2,
                    "in_channels": 1,
                    "out_channels": 14,
                    "features": [32, 64, 128, 256, 512, 512, 512],
                    "design": "released",
                },
                80_886_452,
            ),
            "six_stages_3d": Variant(
                {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "design": "released"}, 64_356_842
            ),
        }
    )
    source: ClassVar[Source] = Source(
        "LKM-UNet: Large Kernel Vision Mamba UNet for Medical Image Segmentation (arXiv 2403.07332)",
        "https://github.com/wjh892521292/LKM-UNet @ 6615775",
        "none found in the repository; this package copies nothing",
        "outputs and gradients of small networks in 2D and 3D (released design); parameter counts of two sizes",
    )

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int] = (32, 64, 128, 256, 320, 320),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: int | Sequence[int | Sequence[int]] = 3,
        n_blocks: int | Sequence[int] = 2,
        n_decoder_blocks: int | Sequence[int] = 2,
        windows: int | Sequence[int | Sequence[int]] | None = None,
        design: str = "paper",
        deep_supervision: bool = False,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        norm: NameOrPair = "instance",
        act: NameOrPair = ("leakyrelu", {"negative_slope": 0.01, "inplace": True}),
    ) -> None:
        check_choice("design", design, ("paper", "released"))
        plan: dict[str, Any] = {"strides": strides, "kernel_sizes": kernel_sizes, "norm": norm, "act": act}
        plan |= {"n_blocks": n_blocks, "n_decoder_blocks": n_decoder_blocks, "deep_supervision": deep_supervision}
        super().__init__(spatial_dims, in_channels, out_channels, features, design="paper", mamba_stages=(), **plan)
        stages = len(features)
        # the authors' rule, written by them for stages counted from full resolution
        factors = [2 ** max((stages - s + 1) // 2 - 1, 0) for s in range(stages)]
        given = [[side * factor for side in _SIDES[spatial_dims]] for factor in factors] if windows is None else windows
        sides = per_stage_and_axis("windows", given, stages, spatial_dims)
        self.mixers = nn.ModuleList(
            LargeKernelMamba(width, window, pool, design == "released", d_state, d_conv, expand)
            for width, window, pool in zip(features, sides, factors, strict=True)
        )
