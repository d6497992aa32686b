"""SliceMamba: VM-UNet with scans along strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive
from medmamba_monai.networks.nets.variant import NO_FILE, Source, Variant
from medmamba_monai.networks.nets.vm_unet import VMUNet

_DEPTHS = {"depths": [2, 2, 9, 2], "depths_decoder": [2, 2, 2, 1]}


class SliceMamba(VMUNet):
    """Segment 2D images or 3D volumes by VSS blocks that read the grid strip by strip.

    SliceMamba (arXiv 2407.08481), figures 2 and 3 and section 3.2 (BSS): strips of rows are read column by column,
    strips of columns row by row, each both ways, so that neighbours across the strip stay near in the sequence.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        depths: blocks of each encoder stage.
        depths_decoder: blocks of each decoder stage, from the lowest resolution up.
        dims: channels of each stage, each twice the one before, at least two.
        strips: widths of the strips across each axis, one number, one an axis, or a list of such lists that blocks
            take in turn, those of the decoder after those of the encoder (what the paper searches).
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
        >>> net = SliceMamba(2, 1, 2, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16], strips=[[2, 4], [4, 4]])
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        Everything else is VM-UNet's, see `VMUNet`. The authors' code needs grids that the widths divide; here the last
        strip is narrower. The widths that the paper's search found are not published; the search chooses among
        [2, 2], [2, 4], [4, 2] and [4, 4] for each block, and the first version of the paper takes 4 everywhere.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "isic": Variant({"out_channels": 1, **_DEPTHS}, 35_797_993),
            "synapse": Variant({"out_channels": 9, **_DEPTHS}, 35_798_193),
        }
    )
    source: ClassVar[Source] = Source(
        "SliceMamba with Neural Architecture Search for Medical Image Segmentation (arXiv 2407.08481)",
        "https://github.com/fAnchao1/SliceMamba @ 19d2830",
        NO_FILE,
        "a mixer against the equations, on the authors' names; the frame is VM-UNet's, which has an oracle",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        depths: Sequence[int] = (2, 2, 9, 2),
        depths_decoder: Sequence[int] = (2, 2, 2, 1),
        dims: Sequence[int] = (96, 192, 384, 768),
        strips: int | Sequence[int] | Sequence[Sequence[int]] = 4,
        patch_size: int = 4,
        d_state: int = 16,
        drop_path_rate: float = 0.2,
    ) -> None:
        check_choice("spatial_dims", spatial_dims, (2, 3))
        orders = strip_orders(spatial_dims, strips)
        super().__init__(
            spatial_dims,
            in_channels,
            out_channels,
            depths,
            depths_decoder,
            dims,
            patch_size,
            orders,
            d_state,
            drop_path_rate,
        )


def strip_orders(spatial_dims: int, strips: int | Sequence[int] | Sequence[Sequence[int]]) -> list[str]:
    """The scan orders of strips of given widths, one for each entry of a list of lists.

    Raises:
        ValueError: when a width is below one or an entry has another number of axes.

    Example:
        >>> strip_orders(2, [2, 4])
        ['strips:2,h+-strips:2,h+strips:4,w+-strips:4,w']
    """
    entries: list[int | Sequence[int]] = []
    if isinstance(strips, int):
        entries = [strips]
    elif all(isinstance(n, int) for n in strips):
        entries = [[n for n in strips if isinstance(n, int)]]
    else:
        entries = list(strips)
    orders = []
    for entry in entries:
        widths = [entry] * spatial_dims if isinstance(entry, int) else list(entry)
        if len(widths) != spatial_dims:
            raise ValueError(f"strips has the entry {widths}: give one width, or {spatial_dims}, one an axis")
        for width in widths:
            check_positive(strips=width)
        pairs = zip(widths, "dhw"[-spatial_dims:], strict=False)
        orders.append("+".join(f"strips:{width},{axis}+-strips:{width},{axis}" for width, axis in pairs))
    return orders
