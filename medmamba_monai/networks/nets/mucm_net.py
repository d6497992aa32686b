"""MUCM-Net: a U-Net of about a hundred thousand parameters or less, of MLPs and Mamba."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_input, check_positive
from medmamba_monai.networks.blocks.ucm import UCMBlock
from medmamba_monai.networks.blocks.ultralight import check_light_arguments, init_light
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import UNRECORDED, PublishedNetwork, Source, Variant


class MUCMNet(PublishedNetwork):
    """Segment 2D images or 3D volumes with very few parameters.

    MUCM-Net (arXiv 2405.15925), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        channels: channels of the stages, multiples of four.
        parts: groups of channels, each with a Mamba of its own; a divisor of all channels behind the first stage.
        hidden: channels at the image's resolution in front of the last convolution.
        deep_supervision: while training, return one output a decoder level as well.
        d_state: numbers in the state of each channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S). With deep supervision and in training
        mode a list of such tensors: full resolution, then half of it each, down to the level above the deepest.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = MUCMNet(2, 1, 2, parts=8)
        >>> net(torch.zeros(1, 1, 33, 40)).shape
        torch.Size([1, 2, 33, 40])

    Notes:
        Built from the paper, from UCM-Net's block and from descriptions of the authors' code, which was not at hand:
        no numbers could be compared. Ambiguous were the paper's variants of 1, 2, 4 and 8 parts: with a Mamba for each
        group of channels, and 2,496 parameters of unused norms that are not built here, 1 and 8 parts have the 0.139
        and 0.071 million that are printed; with one shared Mamba they have not. UCM-Net's code adds a block's result to
        itself, which the norm behind it undoes, so this is left out; it also cuts the gradient of the residual and of
        Mamba's input, here they are trained. Sizes need not be divisible by 64.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "parts1": Variant({"parts": 1}, 136_156),
            "parts2": Variant({"parts": 2}, 97_372),
            "parts4": Variant({"parts": 4}, 78_012),
            "parts8": Variant({"parts": 8}, 68_652),
        }
    )
    source: ClassVar[Source] = Source(
        "MUCM-Net: A Mamba Powered UCM-Net for Skin Lesion Segmentation (arXiv 2405.15925)",
        "https://github.com/chunyuyuan/MUCM-Net, not read",
        UNRECORDED,
        "parameter counts of 1 and 8 parts, which with the unused norms are those printed in the paper",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        channels: Sequence[int] = (8, 16, 24, 32, 48, 64),
        parts: int = 1,
        hidden: int = 3,
        deep_supervision: bool = False,
        d_state: int = 4,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        check_light_arguments(spatial_dims, in_channels, out_channels, channels)
        check_positive(parts=parts, hidden=hidden)
        self.spatial_dims, self.in_channels, self.deep_supervision = spatial_dims, in_channels, deep_supervision
        core: dict[str, Any] = {"parts": parts, "d_state": d_state, "d_conv": d_conv, "expand": expand}
        conv, pairs = Conv[Conv.CONV, spatial_dims], list(zip(channels, channels[1:], strict=False))
        self.stem = conv(in_channels, channels[0], 3, padding=1)
        self.stem_norm = nn.GroupNorm(4, channels[0])
        self.pool = Pool[Pool.MAX, spatial_dims](2, 2, ceil_mode=True)
        self.downs = nn.ModuleList(conv(a, b, 1, 2) for a, b in pairs)
        self.embed_norms = nn.ModuleList(nn.LayerNorm(b) for b in channels[1:])
        self.encoder = nn.ModuleList(_block(spatial_dims, b, core) for b in channels[1:])
        self.ups = nn.ModuleList(conv(b, a, 1) for a, b in reversed(pairs))
        self.up_norms = nn.ModuleList(nn.GroupNorm(4, a) for a, _ in reversed(pairs))
        self.decoder = nn.ModuleList(_block(spatial_dims, a, core) for a, _ in reversed(pairs))
        self.last = conv(channels[0], hidden, 1)
        self.heads = nn.ModuleList(conv(c, out_channels, 1) for c in (*reversed(channels[:-1]), hidden))
        kept = {id(part) for module in self.modules() if isinstance(module, Mamba) for part in module.modules()}
        for module in self.modules():
            if id(module) not in kept:
                init_light(module)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_input(x, self.spatial_dims, self.in_channels)
        size = x.shape[2:]
        skips = [F.relu(self.pool(saturate(self.stem_norm(saturate(self.stem(saturate(x)))))))]
        for down, norm, stage in zip(self.downs, self.embed_norms, self.encoder, strict=True):
            skips.append(stage(norm(saturate(down(skips[-1])).movedim(1, -1))).movedim(-1, 1))
        *skips, y = skips
        sides = []
        for up, norm, stage, skip in zip(self.ups, self.up_norms, self.decoder, reversed(skips), strict=True):
            y = saturate(F.relu(_resize(norm(saturate(up(y))), skip.shape[2:])) + skip)
            sides.append(y)
            y = stage(y.movedim(1, -1)).movedim(-1, 1)
        full = F.relu(_resize(saturate(in_float32(self.last, y)), size))
        logits = saturate(in_float32(self.heads[-1], full))
        if not (self.deep_supervision and self.training):
            return logits
        outputs = [saturate(in_float32(head, side)) for head, side in zip(self.heads, sides, strict=False)]
        return [logits, *reversed(outputs)]


def _block(spatial_dims: int, channels: int, core: dict[str, Any]) -> nn.Module:
    return nn.Sequential(UCMBlock(spatial_dims, channels, **core), nn.LayerNorm(channels))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear" if x.dim() == 4 else "trilinear")
