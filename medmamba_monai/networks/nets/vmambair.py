"""VmambaIR: images restored by a U-Net whose scans run over the grid and along the channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.omni import OmniScanBlock
from medmamba_monai.networks.nets.restoration_unet import RestorationUNet
from medmamba_monai.networks.nets.variant import NO_FILE, Source, Variant

_ENLARGE: Mapping[str, Any] = MappingProxyType(
    {"in_channels": 3, "depths": [6, 2, 2, 1], "refinement": 6, "scale": 4, "channel_width": 1}
)


class VmambaIR(RestorationUNet):
    """Remove rain or noise from images, or enlarge them.

    VmambaIR (arXiv 2403.11423), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the result; those of the image if None.
        dim: channels of the first level, divisible by 2, in 3D by 4; each of the levels has twice the channels of the
            one before.
        depths: blocks of each level.
        refinement: blocks after the decoder.
        scale: 1, 2 or 4, how much larger each side of the result is.
        mlp_ratio: width of the MLPs over the channels.
        bias: give the MLPs, the pointwise and the last convolution a bias.
        channel_width: numbers that each step of the channels' scan is widened to; 1 for none.
        d_state: numbers in the state of each channel.
        d_conv: odd kernel size of the scans' depthwise convolutions.
        expand: inner width of the scans over the channels.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S * scale).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = VmambaIR(2, 1, dim=4, depths=[1, 1], refinement=1, scale=2)
        >>> net(torch.zeros(1, 1, 9, 12)).shape
        torch.Size([1, 1, 18, 24])

    Notes:
        The authors widen the steps of the channels' scan to two numbers for rain, and scan them as they are for
        enlargement; ``channel_width`` says which. Sizes that the levels do not divide are padded with zeros, where
        the authors' code stops. Their task with two inputs of pixels is broken and not here.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "deraining": Variant({"in_channels": 3, "depths": [3, 5, 7, 9]}, 28_699_461),
            "deraining_defaults": Variant({"in_channels": 3}, 27_680_964),
            "enlarge_photographs_x4": Variant(_ENLARGE, 10_497_813),
        }
    )
    source: ClassVar[Source] = Source(
        "VmambaIR: Visual State Space Model for Image Restoration (arXiv 2403.11423)",
        "https://github.com/AlphacatPlus/VmambaIR @ 7228c4f",
        NO_FILE,
        "a small network for either task with its equations, on the authors' names of weights; sizes as in the "
        "authors' options",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int | None = None,
        dim: int = 48,
        depths: Sequence[int] = (6, 6, 7, 8),
        refinement: int = 2,
        scale: int = 1,
        mlp_ratio: float = 2.66,
        bias: bool = False,
        channel_width: int = 2,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 1,
        use_checkpoint: bool = False,
    ) -> None:
        check_positive(channel_width=channel_width)
        scan: dict[str, Any] = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        block = partial(
            OmniScanBlock, spatial_dims, mlp_ratio=mlp_ratio, bias=bias, channel_width=channel_width, **scan
        )
        frame = (spatial_dims, in_channels, out_channels, dim, depths, refinement, bias)
        super().__init__(*frame, block, scale, use_checkpoint)
