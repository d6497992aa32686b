"""FD-Vision Mamba: exposure corrected by scans of amplitude and phase."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.resized_scan import FrequencyScan, resize
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


class FDVisionMamba(PublishedNetwork):
    """Correct images that are too bright or too dark, as endoscopes make them.

    FD-Vision Mamba (arXiv 2402.06378), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the result; those of the image if None.
        depth: number of blocks.
        side: side of the map that blocks work on, to which images are resized.
        hidden: channels between the convolutions of a block.
        d_state: numbers in the state of each channel.
        design: "sound", or "released" for what the authors' code computes, see Notes and `FrequencyScan`.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> FDVisionMamba(2, 3, depth=1, side=8)(torch.rand(1, 3, 9, 12)).shape
        torch.Size([1, 3, 9, 12])

    Notes:
        The network learns what is added to the image, at a low resolution. The authors' code adds the sigmoid of it,
        so that images can only become brighter; ``design="released"`` does that, and what the block's Notes tell. With
        other channels for the result a pointwise convolution makes them, and nothing is added.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "sound": Variant({"in_channels": 3}, 10_888),
            "released": Variant({"in_channels": 3, "design": "released"}, 1_208_067_784),
        }
    )
    source: ClassVar[Source] = Source(
        "FD-Vision Mamba for Endoscopic Exposure Correction (arXiv 2402.06378)",
        "https://github.com/zzr-idam/FDV-NET @ b118e7c",
        NO_FILE,
        "a small network of either design with its equations, the released one on the authors' names of weights; the "
        "count of parameters leaves out the authors' unused convolutions",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int | None = None,
        depth: int = 8,
        side: int = 64,
        hidden: int = 8,
        d_state: int = 16,
        design: str = "sound",
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels, depth=depth, hidden=hidden)
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.side, self.released = side, design == "released"
        self.blocks = nn.ModuleList(
            FrequencyScan(spatial_dims, in_channels, side, hidden, d_state, design) for _ in range(depth)
        )
        other = out_channels != in_channels
        self.head = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, 1) if other else None

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        image = saturate(x)
        y = resize(image, (self.side,) * self.spatial_dims)
        for block in self.blocks:
            y = saturate(run(block, y, use_checkpoint=self.use_checkpoint))
        y = resize(y, x.shape[2:])
        if self.released:
            y = torch.sigmoid(y)
        return saturate(y.to(x.dtype) + image) if self.head is None else saturate(in_float32(self.head, y))
