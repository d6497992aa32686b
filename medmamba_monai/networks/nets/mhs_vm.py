"""MHS-VM: VM-UNet whose mixers scan groups of channels in patterns of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from medmamba_monai.networks.nets.variant import NO_FILE, Source, Variant
from medmamba_monai.networks.nets.vm_unet import VMUNet


class MHSVM(VMUNet):
    """Segment 2D images or 3D volumes by blocks with multi-head scans.

    MHS-VM (arXiv 2406.05992), figures 1 and 2, in the frame of VM-UNet (arXiv 2402.02491).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        depths: blocks of each encoder stage.
        depths_decoder: blocks of each decoder stage, from the lowest resolution up.
        dims: channels of each stage, each twice the one before, at least two.
        heads: groups of channels that are scanned apart.
        threshold: what the coefficient of variation over a head's sequences must exceed to count.
        order: name of the scan order; "multi_head" gives the heads snakes, diagonals, spirals, and rows and columns.
        patch_size: side of a patch.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a mixer next to the bottleneck; it falls linearly to 0 towards both ends.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = MHSVM(2, 1, 2, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16], heads=2)
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        Everything else is VM-UNet's, see `VMUNet`. The authors' code applies a sigmoid when there is one class, and
        reads paths that were made for one image size; here they are made for the size at hand. Its spirals are right
        on squares only; here on every grid. The threshold is 0 for ISIC 2017 and 0.5 for ISIC 2018.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "isic17": Variant({"heads": 4, "threshold": 0.0}, 17_257_129),
            "isic18": Variant({"heads": 4, "threshold": 0.5}, 17_257_129),
            "three_heads": Variant({"heads": 3, "threshold": 0.0}, 17_386_153),
        }
    )
    source: ClassVar[Source] = Source(
        "MHS-VM: Multi-Head Scanning in Parallel Subspaces for Vision Mamba (arXiv 2406.05992)",
        "https://github.com/PixDeep/MHS-VM @ 3e4241e",
        NO_FILE,
        "a mixer against the equations, on the authors' names; the frame is VM-UNet's, which has an oracle",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        depths: Sequence[int] = (2, 2, 2, 2),
        depths_decoder: Sequence[int] = (2, 2, 2, 1),
        dims: Sequence[int] = (96, 192, 384, 768),
        heads: int = 4,
        threshold: float = 0.0,
        order: str = "multi_head",
        patch_size: int = 4,
        d_state: int = 16,
        drop_path_rate: float = 0.2,
    ) -> None:
        block: dict[str, Any] = {"mixer": "heads", "heads": heads, "threshold": threshold}
        super().__init__(
            spatial_dims,
            in_channels,
            out_channels,
            depths,
            depths_decoder,
            dims,
            patch_size,
            order,
            d_state,
            drop_path_rate,
            **block,
        )
