"""UltraLight VM-UNet: a U-Net of 49 thousand parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.bridge import ParallelMamba
from medmamba_monai.networks.blocks.ultralight import LightUNet, check_light_arguments, init_light
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class UltraLightVMUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes with very few parameters.

    UltraLight VM-UNet (arXiv 2403.20035), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        channels: channels of the stages, multiples of four.
        mamba_stages: how many of the deepest stages use Mamba; the others are convolutions of 3x3.
        bridge: weigh the skips by attention over places and channels.
        split_att: "fc" or "conv", the layer that makes the channels' weights.
        d_state: numbers in the state of each channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = UltraLightVMUNet(2, 1, 2)
        >>> net(torch.zeros(1, 1, 33, 40)).shape
        torch.Size([1, 2, 33, 40])

    Notes:
        The authors' code ends in a sigmoid whatever the number of classes; here the result is always logits. Its start
        values overwrite those of Mamba's projections and set the bias of the step size to zero; here Mamba keeps its
        own. It needs sizes divisible by 32; here maps are rounded up and interpolated to the skip's size.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"default": Variant({}, 49_457)})
    source: ClassVar[Source] = Source(
        "UltraLight VM-UNet: Parallel Vision Mamba Significantly Reduces Parameters (arXiv 2403.20035)",
        "https://github.com/wurenkai/UltraLight-VM-UNet @ d7648e4",
        "MIT",
        "outputs and gradients with and without the bridge, at the full size; parameter count",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        channels: Sequence[int] = (8, 16, 24, 32, 48, 64),
        mamba_stages: int = 3,
        bridge: bool = True,
        split_att: str = "fc",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        check_light_arguments(spatial_dims, in_channels, out_channels, channels)
        if not 0 <= mamba_stages < len(channels):
            raise ValueError(f"mamba_stages is {mamba_stages}: give at least 0 and less than {len(channels)}")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        core: dict[str, Any] = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        conv, plain = Conv[Conv.CONV, spatial_dims], len(channels) - mamba_stages

        def stage(level: int, a: int, b: int) -> nn.Module:
            return ParallelMamba(a, b, **core) if level >= plain else conv(a, b, 3, padding=1)

        widths = (in_channels, *channels)
        encoder = [stage(i, widths[i], widths[i + 1]) for i in range(len(channels))]
        decoder = [stage(i, channels[i], channels[i - 1]) for i in reversed(range(1, len(channels)))]
        self.frame = LightUNet(spatial_dims, in_channels, out_channels, channels, encoder, decoder, bridge, split_att)
        kept = {id(part) for module in self.modules() if isinstance(module, Mamba) for part in module.modules()}
        for module in self.modules():
            if id(module) not in kept:
                init_light(module)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.frame(x)
        return logits
