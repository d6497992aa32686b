"""VM-UNet-V2: the encoder of VM-UNet with products of all levels as skips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.fusion import ConvAttention, LevelProduct, LevelProject
from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.blocks.vss import VSSEncoder
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


class VMUNetV2(PublishedNetwork):
    """Segment 2D images or 3D volumes by VSS blocks and the products of the maps of all levels.

    VM-UNet-V2 (arXiv 2403.09157), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        depths: blocks of each stage but the last level, which is only merged.
        dims: channels of each level, each twice the one before, one level more than stages.
        mid_channels: channels of all levels after the encoder.
        patch_size: side of a patch.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a mixer in the last block; it grows linearly from 0.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = VMUNetV2(2, 1, 2, depths=[1], dims=[8, 16], mid_channels=4).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        The maps are the inputs of the encoder's stages, so the authors' last stage acts on nothing; it and three more
        unused layers of their code do not exist here, and their weights are left out when a checkpoint is converted.
        Their result is a sigmoid for one class; here it is always logits. Their products work for square images only;
        here for any size. The sum of the two finest outputs, their "deep supervision", is always taken; where their
        code was trained with deep_supervision=False its checkpoints do not fit.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"default": Variant({}, 13_822_100)})
    source: ClassVar[Source] = Source(
        "VM-UNET-V2: Rethinking Vision Mamba UNet for Medical Image Segmentation (arXiv 2403.09157)",
        "https://github.com/nobodyplayer1/VM-UNetV2 @ b65f04c",
        NO_FILE,
        "outputs and gradients of a small network; parameter count without the authors' unused layers",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        depths: Sequence[int] = (2, 2, 9),
        dims: Sequence[int] = (96, 192, 384, 768),
        mid_channels: int = 48,
        patch_size: int = 4,
        order: str = "cross",
        d_state: int = 16,
        drop_path_rate: float = 0.2,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels, mid_channels=mid_channels)
        if len(depths) != len(dims) - 1 or len(dims) < 2:
            raise ValueError(f"depths has {len(depths)} entries and dims {len(dims)}: give one level more than stages")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        # the last level is what the last merging gives: a stage of identity
        self.encoder = VSSEncoder(
            spatial_dims, in_channels, [*depths, 1], dims, patch_size, drop_path_rate=drop_path_rate,
            order=order, d_state=d_state,
        )  # fmt: skip
        self.encoder.stages[-1] = nn.Identity()
        levels, conv, up = len(dims), Conv[Conv.CONV, spatial_dims], Conv[Conv.CONVTRANS, spatial_dims]
        self.attentions = nn.ModuleList(ConvAttention(spatial_dims, width) for width in dims)
        self.projections = nn.ModuleList(LevelProject(spatial_dims, width, mid_channels) for width in dims)
        self.products = nn.ModuleList(LevelProduct(spatial_dims, mid_channels, levels) for _ in dims)
        self.ups = nn.ModuleList(up(mid_channels, mid_channels, 4, 2, 1, bias=False) for _ in dims[1:])
        self.heads = nn.ModuleList(conv(mid_channels, out_channels, 1) for _ in range(2))
        self.up_head = up(out_channels, out_channels, 3, 2, 1, output_padding=1)
        self.patch_size = patch_size

    def forward(self, x: Tensor) -> Tensor:
        *maps, _ = self.encoder.stage_inputs(x)
        maps = [
            project(attend(grid.movedim(-1, 1)))
            for grid, attend, project in zip(maps, self.attentions, self.projections, strict=True)
        ]
        skips = [product(maps, skip.shape[2:]) for product, skip in zip(self.products, maps, strict=True)]
        y = skips[-1]
        coarse = y
        for up, skip in zip(self.ups, reversed(skips[:-1]), strict=True):
            coarse = y
            y = saturate(crop(saturate(up(y)), skip.shape[2:], first_axis=2) + skip)
        fine, broad = (self._enlarge(in_float32(head, z)) for head, z in zip(self.heads, (y, coarse), strict=True))
        logits = crop(fine, x.shape[2:], first_axis=2) + crop(
            in_float32(self.up_head, broad), x.shape[2:], first_axis=2
        )
        return saturate(logits)

    def _enlarge(self, x: Tensor) -> Tensor:
        mode = "bilinear" if self.spatial_dims == 2 else "trilinear"
        return F.interpolate(x, size=[n * self.patch_size for n in x.shape[2:]], mode=mode)
