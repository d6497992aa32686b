"""T-Mamba: a densely connected network whose convolutions are followed by Mamba with a frequency branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.patches import crop, pad_to_multiple
from medmamba_monai.networks.blocks.positions import resize_positions
from medmamba_monai.networks.blocks.registration import sinusoidal_positions
from medmamba_monai.networks.blocks.t_mamba import DenseStage, PreactivatedConv
from medmamba_monai.networks.layers.precision import autocast_dtype, is_tracing, saturate, without_autocast
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class TMamba(PublishedNetwork):
    """Segment 3D volumes (or 2D images), made for teeth.

    T-Mamba (arXiv 2404.01065), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included; 1 gives logits of one class.
        units: convolutions with Mamba in each of the three stages.
        growth: channels of each of them.
        channels: channels behind a stage's first convolution.
        skips: channels that each stage gives to the end.
        img_size: size of the training images, for learned positions and learned weights of the spectrum, which are
            interpolated for other sizes; None for sinusoidal positions and a convolution over the spectrum.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolutions.
        expand: inner width of Mamba over its channels.
        use_checkpoint: while training, compute the Mamba blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range, lists differ in length, or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = TMamba(2, 1, 2, units=[1, 1, 1]).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        The authors keep positions, spectral weights and gates outside of the network's parameters, so that they are
        neither trained nor saved: their checkpoints cannot give their results again. Here positions and spectral
        weights are parameters, and the gates, which weigh the three branches of a block, are not built. Images are
        padded with zeros to multiples of 8. Under float16 the network computes in float32.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"tooth": Variant({}, 1_212_200)})
    source: ClassVar[Source] = Source(
        "T-Mamba: A unified framework with Long-Range Dependency in dual-domain for 2D & 3D Tooth Segmentation "
        "(arXiv 2404.01065)",
        "https://github.com/isbrycee/T-Mamba @ 742dde1",
        "MIT",
        "output and gradients of a network for small volumes, without gates; parameter count but for the gates",
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        units: Sequence[int] = (5, 10, 10),
        growth: Sequence[int] = (4, 8, 16),
        channels: int = 24,
        skips: Sequence[int] = (12, 24, 24),
        img_size: int | Sequence[int] | None = None,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels, channels=channels)
        for name, given in {"units": units, "growth": growth, "skips": skips}.items():
            per_stage(name, given, 3)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.stages, width = nn.ModuleList(), in_channels
        for i in range(3):
            mamba, kernel = (d_state, d_conv, expand), 5 if i == 0 else 3
            sizes = (units[i], growth[i], kernel, skips[i])
            stage = DenseStage(spatial_dims, width, channels, *sizes, i, img_size is None, mamba, use_checkpoint)
            self.stages.append(stage)
            width = channels + units[i] * growth[i]
        self.grids: list[tuple[int, ...]] = []
        self.positions, self.spectra = nn.ParameterList(), nn.ParameterList()
        if img_size is not None:
            size = per_stage("img_size", img_size, spatial_dims)
            for i, width in enumerate(growth):
                self.grids.append(tuple(-(-n // 8) * 8 // 2 ** (i + 1) for n in size))
                count = torch.Size(self.grids[-1]).numel()
                self.positions.append(nn.Parameter(torch.zeros(1, count, width)))
                self.spectra.append(nn.Parameter(torch.ones(2 * int(expand * width), count)))
        self.last = PreactivatedConv(spatial_dims, sum(skips), out_channels)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float())
        y = pad_to_multiple(x, 8, first_axis=2)
        skips = []
        for i, stage in enumerate(self.stages):
            y, skip = stage(y, lambda grid, i=i: self._places(i, grid))
            skips.append(skip)
        mode = "bilinear" if self.spatial_dims == 2 else "trilinear"
        size = skips[0].shape[2:]
        joined = torch.cat([skips[0], *(F.interpolate(s, size=size, mode=mode) for s in skips[1:])], 1)
        logits = F.interpolate(self.last(joined), scale_factor=2.0, mode=mode)
        return saturate(crop(logits, x.shape[2:], first_axis=2))

    def _places(self, stage: int, grid: Tensor) -> tuple[Tensor, Tensor | None]:
        """Positions of the stage's tokens and weights of their spectrum, if learned."""
        size = grid.shape[2:]
        if not self.grids:
            width = self.stages[stage].blocks[0].norm.weight  # type: ignore[union-attr, index]
            return sinusoidal_positions(size, width).flatten(0, -2), None
        positions = resize_positions(self.positions[stage], self.grids[stage], size)[0]
        table, count = self.spectra[stage], grid[0, 0].numel()
        if count != table.shape[1] or is_tracing():
            table = F.interpolate(table.unsqueeze(0), size=count, mode="linear")[0]
        return positions, table
