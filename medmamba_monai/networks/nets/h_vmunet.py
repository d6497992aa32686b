"""H-vmunet: a light U-Net whose blocks multiply scans of growing order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive, per_stage
from medmamba_monai.networks.blocks.high_order import HighOrderBlock
from medmamba_monai.networks.blocks.ultralight import LightUNet, check_light_arguments, init_light
from medmamba_monai.networks.blocks.vss import drop_paths
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class HVMUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes by products of scans.

    H-vmunet (arXiv 2403.13642), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        channels: channels of the stages, multiples of four. The first two stages are convolutions; a stage behind them
            works on the channels of the one before, which two to the power of its order must divide.
        depths: blocks of each stage behind the first two.
        orders: order of the blocks of these stages, used by the decoder in reverse.
        bridge: weigh the skips by attention over places and channels.
        split_att: "fc" or "conv", the layer that makes the channels' weights.
        layer_scale: start of the factors of the blocks' branches.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a branch in the deepest block; it falls linearly to 0 towards both ends.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = HVMUNet(2, 1, 2, [4, 4, 8], [1], [2]).eval()
        >>> net(torch.zeros(1, 1, 33, 40)).shape
        torch.Size([1, 2, 33, 40])

    Notes:
        The authors' code counts 8,972,623 parameters: in each block it also holds a table in the frequency domain that
        it never uses; it is not built here, and `medmamba_monai.weights.convert` leaves it out. That code ends in a
        sigmoid whatever the number of classes; here the result is always logits. It needs sizes divisible by 32; here
        maps are rounded up and interpolated to the skip's size.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"default": Variant({}, 8_569_231)})
    source: ClassVar[Source] = Source(
        "H-vmunet: High-order Vision Mamba UNet for Medical Image Segmentation (arXiv 2403.13642)",
        "https://github.com/wurenkai/H-vmunet @ f255cb4",
        "MIT",
        "outputs and gradients of a small network; parameter count, which with the unused tables is the authors'",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        channels: Sequence[int] = (8, 16, 32, 64, 128, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        orders: Sequence[int] = (2, 3, 4, 5),
        bridge: bool = True,
        split_att: str = "fc",
        layer_scale: float = 1e-6,
        order: str = "cross",
        d_state: int = 16,
        drop_path_rate: float = 0.4,
    ) -> None:
        super().__init__()
        check_light_arguments(spatial_dims, in_channels, out_channels, channels)
        check_positive(d_state=d_state)
        scanned = len(channels) - 2
        if scanned < 1:
            raise ValueError(
                f"channels is {list(channels)}: give at least three stages, the first two are convolutions"
            )
        depths, orders = per_stage("depths", depths, scanned), per_stage("orders", orders, scanned)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate is {drop_path_rate}: give a chance of at least 0 and less than 1")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        conv = Conv[Conv.CONV, spatial_dims]
        rates = drop_paths(drop_path_rate, depths)

        def stage(a: int, b: int, level: int) -> nn.Module:
            """A stage from a to b channels; levels below 0 have no blocks."""
            last: nn.Module = conv(a, b, 3, padding=1)
            if level < 0:
                return last
            blocks = (
                HighOrderBlock(spatial_dims, a, orders[level], rate, layer_scale, order=order, d_state=d_state)
                for rate in rates[level]
            )
            return nn.Sequential(*blocks, last)

        widths = (in_channels, *channels)
        encoder = [stage(a, b, i - 2) for i, (a, b) in enumerate(zip(widths, channels, strict=False))]
        decoder = [stage(channels[i], channels[i - 1], i - 2) for i in reversed(range(1, len(channels)))]
        self.frame = LightUNet(spatial_dims, in_channels, out_channels, channels, encoder, decoder, bridge, split_att)
        self.apply(init_light)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.frame(x)
        return logits
