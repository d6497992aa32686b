"""UVM-Net: a U-Net whose every stage scans a small copy of its map, over places and over channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.resized_scan import PlaceAndChannelScan, resize
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


class UVMStage(nn.Module):
    """Add a scan of a copy of the map of fixed size, then two convolutions with batch norm and ReLU.

    UVM-Net (arXiv 2402.04139), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the map.
        out_channels: channels of the result.
        mid_channels: channels between the convolutions; those of the result if None.
        side: side of the copy.
        arguments: the others of `PlaceAndChannelScan`.

    Shape:
        x (B, in_channels, *S); returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument of `PlaceAndChannelScan` is out of range.

    Example:
        >>> UVMStage(2, 2, 4, side=4)(torch.zeros(2, 2, 5, 6)).shape
        torch.Size([2, 4, 5, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        mid_channels: int | None = None,
        side: int = 64,
        **arguments: Any,
    ) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        mid = mid_channels or out_channels
        self.size = (side,) * spatial_dims
        self.mixer = PlaceAndChannelScan(spatial_dims, in_channels, side, **arguments)
        self.conv1, self.norm1 = conv(in_channels, mid, 3, padding=1, bias=False), norm(mid)
        self.conv2, self.norm2 = conv(mid, out_channels, 3, padding=1, bias=False), norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed = resize(self.mixer(resize(x, self.size)), x.shape[2:])
        y = saturate(x + mixed.to(x.dtype))
        y = F.relu(saturate(in_float32(self.norm1, saturate(in_float32(self.conv1, y)))))
        return F.relu(saturate(in_float32(self.norm2, saturate(in_float32(self.conv2, y)))))


class UVMNet(PublishedNetwork):
    """Remove haze or noise from images.

    UVM-Net (arXiv 2402.04139), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the result; those of the image if None.
        features: channels of each level.
        side: side of the copies that are scanned; the scans over channels are ``side ** spatial_dims`` wide, which
            makes nearly all parameters.
        hidden: channels between the convolutions in front of the scans.
        d_state: numbers in the state of each channel.
        design: "sound", or "released" for what the authors' code computes, see `PlaceAndChannelScan`.
        use_checkpoint: while training, compute the stages again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> UVMNet(2, 1, features=[4, 8], side=4)(torch.rand(2, 1, 9, 12)).shape
        torch.Size([2, 1, 9, 12])

    Notes:
        Axes of a single voxel are halved no further, where the authors' code stops. The image is added where both have
        as many channels. The softmax over a map's places makes small weights, as many as there are places.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"dehazing": Variant({"in_channels": 3}, 1_003_940_200)}
    )
    source: ClassVar[Source] = Source(
        "U-shaped Vision Mamba for Single Image Dehazing (arXiv 2402.04139)",
        "https://github.com/zzr-idam/UVM-Net @ d3d70d8",
        NO_FILE,
        "a small network of either design with its equations, on the authors' names of weights",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int | None = None,
        features: Sequence[int] = (64, 128, 256, 512, 512),
        side: int = 64,
        hidden: int = 16,
        d_state: int = 16,
        design: str = "sound",
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels, hidden=hidden)
        widths = per_stage("features", features, len(features))
        if len(widths) < 2:
            raise ValueError(f"features is {list(widths)}: give at least two levels")
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.is_residual = in_channels == out_channels
        stage: dict[str, Any] = {"side": side, "hidden": hidden, "d_state": d_state, "design": design}
        self.encoder = nn.ModuleList(
            UVMStage(spatial_dims, a, b, **stage) for a, b in zip((in_channels, *widths), widths, strict=False)
        )
        self.decoder, below = nn.ModuleList(), widths[-1]
        for level in range(len(widths) - 2, -1, -1):
            joined, width = below + widths[level], widths[max(level - 1, 0)]
            self.decoder.append(UVMStage(spatial_dims, joined, width, max(joined // 2, 1), **stage))
            below = width
        self.head = Conv[Conv.CONV, spatial_dims](below, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        image = y = saturate(x)
        skips: list[Tensor] = []
        for i, stage in enumerate(self.encoder):
            y = run(stage, _halve(y) if i else y, use_checkpoint=self.use_checkpoint)
            skips.append(y)
        skips.pop()
        for stage in self.decoder:
            y = run(stage, _join(y, skips.pop()), use_checkpoint=self.use_checkpoint)
        y = saturate(in_float32(self.head, y))
        return saturate(y + image) if self.is_residual else y


def _halve(x: Tensor) -> Tensor:
    """The largest of each two neighbours along axes of more than one voxel."""
    pool = F.max_pool2d if x.dim() == 4 else F.max_pool3d
    return pool(x, [min(2, int(n)) for n in x.shape[2:]])


def _join(x: Tensor, skip: Tensor) -> Tensor:
    """The skip and the map below it, enlarged twice and padded with zeros on both sides."""
    y = resize(x, [n if above == 1 else 2 * n for n, above in zip(x.shape[2:], skip.shape[2:], strict=True)])
    pads = []
    for n, above in zip(reversed(y.shape[2:]), reversed(skip.shape[2:]), strict=True):
        pads += [(above - n) // 2, above - n - (above - n) // 2]
    return torch.cat((skip, F.pad(y, pads)), 1)
