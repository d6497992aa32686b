"""The U-Net that several restoration networks share, with blocks of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.patches import crop, pad_to_multiple
from medmamba_monai.networks.blocks.restoration import ShuffleDown, ShuffleUp
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork


class RestorationUNet(PublishedNetwork):
    """A U-Net of blocks at full resolution and below, beside the identity; a base class.

    Restormer (arXiv 2111.09881), figure 2, without its blocks.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the result; those of the image if None.
        dim: channels of the first level, divisible by 2, in 3D by 4; each of the levels has twice the channels of the
            one before.
        depths: blocks of each level.
        refinement: blocks after the decoder.
        bias: give the last and the pointwise convolutions a bias.
        block: from a number of channels to a block of grids with channels last.
        scale: 1, 2 or 4, how much larger each side of the result is.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S * scale).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = RestorationUNet(2, 1, None, 4, [1, 1], 1, False, nn.LayerNorm)
        >>> net(torch.zeros(1, 1, 9, 12)).shape
        torch.Size([1, 1, 9, 12])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int | None,
        dim: int,
        depths: Sequence[int],
        refinement: int,
        bias: bool,
        block: Callable[[int], nn.Module],
        scale: int = 1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("scale", scale, (1, 2, 4))
        check_positive(in_channels=in_channels, out_channels=out_channels, dim=dim, refinement=refinement)
        levels = len(depths)
        per_stage("depths", depths, levels)
        if levels < 2:
            raise ValueError(f"depths is {list(depths)}: give at least two levels")
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.is_residual, self.multiple, self.scale = in_channels == out_channels, 2 ** (levels - 1), scale
        conv = Conv[Conv.CONV, spatial_dims]
        widths = [dim * 2**i for i in range(levels)]

        def stage(width: int, depth: int) -> nn.ModuleList:
            return nn.ModuleList(block(width) for _ in range(depth))

        self.patch_embed = conv(in_channels, dim, 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(map(stage, widths, depths))
        self.downs = nn.ModuleList(ShuffleDown(spatial_dims, width, 2 * width) for width in widths[:-1])
        upper = list(reversed(widths[:-1]))
        self.ups = nn.ModuleList(ShuffleUp(spatial_dims, 2 * width, width, bias=False) for width in upper)
        # the highest level keeps the channels of both maps it joins
        self.fuses = nn.ModuleList(conv(2 * width, width, 1, bias=bias) for width in upper[:-1])
        self.decoder = nn.ModuleList(map(stage, [*upper[:-1], 2 * dim], reversed(depths[:-1])))
        self.refinement = stage(2 * dim, refinement)
        self.enlarge = nn.ModuleList(ShuffleUp(spatial_dims, 2 * dim, 2 * dim) for _ in range(scale.bit_length() - 1))
        self.head = conv(2 * dim, out_channels, 3, padding=1, bias=bias or scale > 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        image = saturate(x)
        y = saturate(in_float32(self.patch_embed, pad_to_multiple(image, self.multiple, first_axis=2)))
        skips = []
        for i, stage in enumerate(self.encoder):
            y = self._run(stage, self.downs[i - 1](y) if i else y)
            skips.append(y)
        skips.pop()
        for up, fuse, stage in zip(self.ups, [*self.fuses, None], self.decoder, strict=True):
            y = torch.cat((up(y), skips.pop()), 1)
            y = self._run(stage, y if fuse is None else saturate(in_float32(fuse, y)))
        y = self._run(self.refinement, y)
        for enlarge in self.enlarge:
            y = saturate(enlarge(y))
        y = crop(saturate(in_float32(self.head, y)), [n * self.scale for n in x.shape[2:]], first_axis=2)
        if self.scale > 1:
            image = F.interpolate(image, scale_factor=float(self.scale), mode="nearest")
        return saturate(y + image) if self.is_residual else y

    def _run(self, blocks: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(blocks, nn.ModuleList)
        y = x.movedim(1, -1)
        for block in blocks:
            y = run(block, y, use_checkpoint=self.use_checkpoint)
        return y.movedim(-1, 1)
