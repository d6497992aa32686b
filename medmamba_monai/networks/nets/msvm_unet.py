"""MSVM-UNet: VMamba's encoder, VSS blocks that convolve at several scales, and expansion with large kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.decoders import ExpandDecoder, ExpandHead
from medmamba_monai.networks.blocks.vss import VSSEncoder, vss_stage
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant
from medmamba_monai.networks.nets.vmamba import CURRENT


class MSVMUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes by VSS blocks with convolutions of several sizes in the decoder.

    MSVM-UNet (arXiv 2408.13735), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        depths: blocks of each encoder stage.
        dims: channels of each stage, each twice the one before, at least two.
        decoder_depth: blocks of each decoder stage.
        kernels: odd sizes of the convolutions inside the decoder's MLPs.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        expand: inner width of a mixer over its channels.
        drop_path_rate: chance to drop a branch in the last block of the encoder.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = MSVMUNet(2, 1, 2, depths=[1, 1], dims=[8, 16]).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        `medmamba_monai.weights.load_encoder` fills ``encoder`` from an ImageNet checkpoint of VMamba (tiny_s1l8 or
        small_s1l20). The authors' code repeats an image of one channel to three; here set in_channels=1. It needs
        sizes divisible by 32; here any size works.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": Variant({"out_channels": 9, "depths": [2, 2, 8, 2], "drop_path_rate": 0.2}, 35_925_513),
            "small": Variant({"out_channels": 9, "depths": [2, 2, 20, 2], "drop_path_rate": 0.3}, 54_689_289),
        }
    )
    source: ClassVar[Source] = Source(
        "MSVM-UNet: Multi-Scale Vision Mamba UNet for Medical Image Segmentation (arXiv 2408.13735)",
        "https://github.com/gndlwch2w/msvm-unet @ abb1a8e",
        NO_FILE,
        "outputs and gradients of a small network; parameter counts of two sizes",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 9,
        depths: Sequence[int] = (2, 2, 8, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        decoder_depth: int = 2,
        kernels: Sequence[int] = (1, 3, 5),
        order: str = "cross",
        d_state: int = 1,
        expand: float = 1.0,
        drop_path_rate: float = 0.2,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels, decoder_depth=decoder_depth)
        if any(kernel % 2 == 0 for kernel in kernels):
            raise ValueError(f"kernels is {list(kernels)}: use odd sizes, which keep the grid's size")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        block: dict[str, Any] = {**CURRENT, "order": order, "d_state": d_state, "expand": expand}
        self.encoder = VSSEncoder(spatial_dims, in_channels, depths, dims, drop_path_rate=drop_path_rate, **block)
        del block["embed"], block["merge"]
        stages = [
            vss_stage(spatial_dims, width, [0.0] * decoder_depth, mlp_kernels=kernels, **block)
            for width in reversed(dims[:-1])
        ]
        self.decoder = ExpandDecoder(spatial_dims, dims, stages, "concat", large_kernel=True)
        self.head = ExpandHead(spatial_dims, dims[0], dims[0], out_channels, 4, large_kernel=True)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.encoder(x)
        logits: Tensor = self.head(self.decoder(maps[-1], maps)[-1], x.shape[2:])
        return logits
