"""Swin-UMamba and Swin-UMamba-D: U-Nets on an encoder that can start from ImageNet's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.decoders import ExpandDecoder, ExpandHead, UnetrDecoder
from medmamba_monai.networks.blocks.u_mamba import InstanceNorm, init_he
from medmamba_monai.networks.blocks.vss import VSSEncoder, drop_paths, vss_stage
from medmamba_monai.networks.layers.precision import Saturate, in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant

_PAPER = "Swin-UMamba: Mamba-based UNet with ImageNet-based pretraining (arXiv 2402.03302)"
_CODE = "https://github.com/JiarunLiu/Swin-UMamba @ 2c1f72e"
_VERIFIED = "outputs and gradients of a small network; parameter counts for 1 and 3 channels"


class SwinUMamba(PublishedNetwork):
    """Segment 2D images or 3D volumes: an encoder of VSS blocks, a decoder of residual convolutions.

    Swin-UMamba (arXiv 2402.03302), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        depths: blocks of each encoder stage.
        dims: channels of each stage, each twice the one before; the stem has half of the first.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a mixer in the last block of the encoder.
        deep_supervision: while training, return one output a decoder level.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S). With deep supervision and in training
        mode a list of such tensors, full resolution first, each next one at half the resolution.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = SwinUMamba(2, 1, 2, depths=[1, 1], dims=[8, 16])
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        `medmamba_monai.weights.load_encoder` fills ``encoder`` from an ImageNet checkpoint of VMamba, all but its patch
        embedding, and ``encoder.freeze(patch_embed=False)`` keeps it fixed, as the authors do for ten epochs.
        Unlike the authors' code, sizes need not be divisible by 32, and several outputs come in training mode only.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "abdomen_mr": Variant({"in_channels": 1, "out_channels": 14}, 59_889_368),
            "three_channels": Variant({"in_channels": 3, "out_channels": 14}, 59_895_032),
        }
    )
    source: ClassVar[Source] = Source(_PAPER, _CODE, "Apache-2.0", _VERIFIED)

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 14,
        depths: Sequence[int] = (2, 2, 9, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        order: str = "cross",
        d_state: int = 16,
        drop_path_rate: float = 0.2,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels)
        if dims[0] < 2:
            raise ValueError(f"dims is {list(dims)}: start with at least 2, of which the stem has half")
        self.spatial_dims, self.in_channels, self.deep_supervision = spatial_dims, in_channels, deep_supervision
        widths = (dims[0] // 2, *dims)
        conv = Conv[Conv.CONV, spatial_dims]
        self.stem = nn.Sequential(conv(in_channels, widths[0], 7, 2, 3), Saturate(), InstanceNorm(widths[0]))
        self.encoder = VSSEncoder(
            spatial_dims, widths[0], depths, dims, 2, drop_path_rate=drop_path_rate, order=order, d_state=d_state
        )
        self.decoder = UnetrDecoder(spatial_dims, in_channels, widths)
        self.heads = nn.ModuleList(conv(width, out_channels, 1) for width in (*reversed(widths[1:-1]), widths[0]))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_input(x, self.spatial_dims, self.in_channels)
        x = saturate(x)
        stem = self.stem(x)
        maps = [stem, *(grid.movedim(-1, 1) for grid in self.encoder(stem))]
        # the deepest of the decoder's maps has no head
        results = self.decoder(x, maps)[1:]
        if not (self.deep_supervision and self.training):
            return saturate(in_float32(self.heads[-1], results[-1]))
        outputs = [saturate(in_float32(head, y)) for head, y in zip(self.heads, results, strict=True)]
        return outputs[::-1]


class SwinUMambaD(PublishedNetwork):
    """Segment 2D images or 3D volumes by VSS blocks in encoder and decoder.

    Swin-UMamba-dagger (arXiv 2402.03302), section 2.4.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        depths: blocks of each encoder stage.
        dims: channels of each stage, each twice the one before, at least two.
        patch_size: side of a patch.
        decoder_depth: blocks of each decoder stage.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a mixer next to the bottleneck; it falls linearly to 0 towards both ends.
        deep_supervision: while training, return one output a decoder level.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S). With deep supervision and in training
        mode a list of such tensors: full resolution, then that of the patches, then half of it each.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = SwinUMambaD(2, 1, 2, depths=[1, 1], dims=[8, 16])
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        `medmamba_monai.weights.load_encoder` fills ``encoder`` from an ImageNet checkpoint of VMamba. Unlike the
        authors' code, sizes need not be divisible by 32, and several outputs come in training mode only.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "abdomen_mr": Variant({"in_channels": 1, "out_channels": 14}, 27_497_720),
            "three_channels": Variant({"in_channels": 3, "out_channels": 14}, 27_500_792),
        }
    )
    source: ClassVar[Source] = Source(_PAPER, _CODE, "Apache-2.0", _VERIFIED)

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 14,
        depths: Sequence[int] = (2, 2, 9, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        patch_size: int = 4,
        decoder_depth: int = 2,
        order: str = "cross",
        d_state: int = 16,
        drop_path_rate: float = 0.2,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels, decoder_depth=decoder_depth)
        self.spatial_dims, self.in_channels, self.deep_supervision = spatial_dims, in_channels, deep_supervision
        block: dict[str, Any] = {"order": order, "d_state": d_state}
        self.encoder = VSSEncoder(
            spatial_dims, in_channels, depths, dims, patch_size, drop_path_rate=drop_path_rate, **block
        )
        widths = list(reversed(dims[:-1]))
        rates = drop_paths(drop_path_rate, [decoder_depth] * len(widths))
        stages = [
            vss_stage(spatial_dims, width, [drop_path_rate - r for r in rate], **block)
            for width, rate in zip(widths, rates, strict=True)
        ]
        self.decoder = ExpandDecoder(spatial_dims, dims, stages, "concat")
        heads: list[nn.Module] = [Conv[Conv.CONV, spatial_dims](width, out_channels, 1) for width in widths]
        self.heads = nn.ModuleList([*heads, ExpandHead(spatial_dims, dims[0], dims[0], out_channels, patch_size)])
        self.apply(init_he)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        maps = self.encoder(x)
        grids = self.decoder(maps[-1], maps)
        logits: Tensor = self.heads[-1](grids[-1], x.shape[2:])
        if not (self.deep_supervision and self.training):
            return logits
        outputs = [
            saturate(in_float32(head, grid.movedim(-1, 1))) for head, grid in zip(self.heads, grids, strict=False)
        ]
        return [logits, *reversed(outputs)]
