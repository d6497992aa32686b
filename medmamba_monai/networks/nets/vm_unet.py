"""VM-UNet: a U-Net of VSS blocks with added skips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from medmamba_monai.networks.blocks.arguments import check_positive, per_stage
from medmamba_monai.networks.blocks.decoders import ExpandDecoder, ExpandHead
from medmamba_monai.networks.blocks.vss import VSSEncoder, drop_paths, init_linear, vss_stage
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant

_ISIC: Mapping[str, Any] = MappingProxyType({"depths": [2, 2, 2, 2], "depths_decoder": [2, 2, 2, 1]})


class VMUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes by VSS blocks.

    VM-UNet (arXiv 2402.02491), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        depths: blocks of each encoder stage.
        depths_decoder: blocks of each decoder stage, from the lowest resolution up.
        dims: channels of each stage, each twice the one before, at least two.
        patch_size: side of a patch.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`, or a list that blocks take in turn, those
            of the decoder after those of the encoder.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a mixer next to the bottleneck; it falls linearly to 0 towards both ends.
        block: further arguments of the blocks and their mixers, see `medmamba_monai.networks.blocks.vss.VSSBlock`.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = VMUNet(2, 1, 2, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16])
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        The authors' code applies a sigmoid when there is one class; here the result is always logits. It repeats an
        image of one channel to three; here set in_channels=1, and a checkpoint's three kernels can be summed. The
        skips are the inputs of the encoder's stages, added before the map is expanded, and the input of the first
        stage is not used, as in that code. It needs sizes divisible by 32; here smaller remainders are padded in the
        encoder and cut off in the decoder.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "isic": Variant({"out_channels": 1, **_ISIC}, 27_427_561),
            "synapse": Variant({"out_channels": 9, **_ISIC}, 27_427_761),
            "deep": Variant(
                {"out_channels": 1, "depths": [2, 2, 9, 2], "depths_decoder": [2, 9, 2, 2]},
                44_273_833,
            ),
        }
    )
    source: ClassVar[Source] = Source(
        "VM-UNet: Vision Mamba UNet for Medical Image Segmentation (arXiv 2402.02491)",
        "https://github.com/JCruan519/VM-UNet @ 43c495b",
        NO_FILE,
        "outputs and gradients of a small network; parameter counts of three configurations",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        depths: Sequence[int] = (2, 2, 2, 2),
        depths_decoder: Sequence[int] = (2, 2, 2, 1),
        dims: Sequence[int] = (96, 192, 384, 768),
        patch_size: int = 4,
        order: str | Sequence[str] = "cross",
        d_state: int = 16,
        drop_path_rate: float = 0.2,
        **block: Any,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels)
        per_stage("depths_decoder", depths_decoder, len(dims))
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        block = {"order": order, "d_state": d_state, **block}
        self.encoder = VSSEncoder(
            spatial_dims, in_channels, depths, dims, patch_size, drop_path_rate=drop_path_rate, **block
        )
        rates = [[drop_path_rate - rate for rate in stage] for stage in drop_paths(drop_path_rate, depths_decoder)]
        firsts = [sum(depths) + sum(depths_decoder[:stage]) for stage in range(len(dims))]
        bottom, *stages = (
            vss_stage(spatial_dims, width, rate, first_layer=first, **block)
            for width, rate, first in zip(reversed(dims), rates, firsts, strict=True)
        )
        self.bottom = bottom
        self.decoder = ExpandDecoder(spatial_dims, dims, stages, "add")
        hidden = max(dims[0] // patch_size, 1)
        self.head = ExpandHead(spatial_dims, dims[0], hidden, out_channels, patch_size)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        *skips, deepest = self.encoder.stage_inputs(x)
        grids = self.decoder(self.bottom(deepest), skips)
        logits: Tensor = self.head(grids[-1], x.shape[2:])
        return logits
