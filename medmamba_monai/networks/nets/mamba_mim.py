"""HyMamba, a hybrid of convolutions and Mamba, and MambaMIM, which trains its encoder without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.decoders import UnetrUp
from medmamba_monai.networks.blocks.hy_mamba import HyMambaEncoder, PlainResidual, interpolate_states
from medmamba_monai.networks.blocks.patches import crop, pad_to_multiple
from medmamba_monai.networks.layers.precision import Saturate, in_float32, saturate, without_autocast
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant

_PAPER = (
    "MambaMIM: Pre-training Mamba with State Space Token Interpolation and its Application to Medical Image "
    "Segmentation (arXiv 2408.08070)"
)
_CODE = "https://github.com/FengheTan9/MambaMIM @ 8b96c05"


class HyMamba(PublishedNetwork):
    """Segment volumes (or images) with convolutions at high resolutions and Mamba at the lowest.

    MambaMIM (arXiv 2408.08070), the network HyMamba.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included; 1 gives logits of one class.
        channels: channels of the stem and of the levels; all but the stem have half the resolution of the one before.
        depths: convolutional blocks behind each pooling, one number fewer than ``channels``.
        ratios: channels inside these blocks over those of the map.
        mamba_depth: Mamba blocks at the lowest resolution.
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
        >>> net = HyMamba(2, 1, 3, channels=[4, 4, 8], depths=[1, 1], ratios=[2, 2], mamba_depth=1)
        >>> net(torch.zeros(1, 1, 15, 20)).shape
        torch.Size([1, 3, 15, 20])

    Notes:
        `MambaMIM` trains ``encoder`` without labels: ``net.encoder.load_state_dict(mim.encoder.state_dict(),
        strict=False)`` takes it over, but for what only one of them has. The authors' Mamba layers also hold the
        weights of a second direction, which their code never runs. Images are padded with zeros to whole patches.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"btcv": Variant({"out_channels": 14}, 41_441_774)})
    source: ClassVar[Source] = Source(
        _PAPER,
        _CODE,
        "Apache-2.0",
        "its equations; the encoder's number of parameters is that of the released file to its printed precision; the "
        "authors' code was read, not run",
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 192, 384),
        depths: Sequence[int] = (2, 2, 2, 1),
        ratios: Sequence[int] = (2, 4, 4, 4),
        mamba_depth: int = 4,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels)
        _check(spatial_dims, in_channels, channels, depths, ratios, mamba_depth)
        self.spatial_dims, self.in_channels, self.stride = spatial_dims, in_channels, 2 ** len(depths)
        self.encoder = HyMambaEncoder(
            spatial_dims,
            in_channels,
            channels,
            depths,
            ratios,
            mamba_depth,
            use_checkpoint=use_checkpoint,
            mamba=(d_state, d_conv, expand),
        )
        below = [channels[-1], *reversed(channels[2:])]
        pairs = zip(below, reversed(channels[1:]), strict=True)
        self.ups = nn.ModuleList(UnetrUp(spatial_dims, a, b, b) for a, b in pairs)
        self.last = PlainResidual(spatial_dims, channels[1], channels[0])
        self.head = Conv[Conv.CONV, spatial_dims](channels[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        *skips, y = self.encoder(pad_to_multiple(saturate(x), self.stride, first_axis=2))
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            y = up(y, skip)
        return crop(saturate(in_float32(self.head, self.last(y))), x.shape[2:], first_axis=2)


class MambaMIM(PublishedNetwork):
    """Paint the hidden patches of volumes (or images), to train HyMamba's encoder without labels.

    MambaMIM (arXiv 2408.08070), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        channels: channels of the stem and of the levels.
        depths: convolutional blocks behind each pooling.
        ratios: channels inside these blocks over those of the map.
        mamba_depth: Mamba blocks at the lowest resolution.
        decoder_dim: channels of the decoder at the lowest resolution; half as many at each one above.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolutions.
        expand: inner width of Mamba over its channels.
        use_checkpoint: while training, compute the Mamba blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size, whole, and hidden (B, 1, *S), 1 in the patches to hide, as
        `medmamba_monai.losses.MaskedImageLoss` takes it. Returns the painted image (B, in_channels, *S).

    Raises:
        ValueError: when an argument is out of range, the inputs do not fit, or samples hide different numbers of
            patches.
        TypeError: when the image is not of floating point.

    Example:
        >>> net = MambaMIM(2, 1, channels=[4, 4, 8], depths=[1, 1], ratios=[2, 2], mamba_depth=1, decoder_dim=8)
        >>> x = torch.rand(2, 1, 16, 12)
        >>> net(x, net.draw(x, 0.6)).shape
        torch.Size([2, 1, 16, 12])

    Notes:
        Patches are the pixels of one place of the lowest resolution, 16 along a side at the published depth. Every
        convolution, norm and pooling sees zeros where patches are hidden, and Mamba reads the visible tokens only.
        Gaps between them are filled by `medmamba_monai.networks.blocks.hy_mamba.interpolate_states`. The authors' code
        reshapes what fills the gaps instead of transposing it, which mixes channels and places, takes hidden tokens for
        visible ones in batches of several samples, and holds layers at the full resolution that it never uses; none of
        that is done here.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"released": Variant({}, 65_673_937)})
    source: ClassVar[Source] = Source(
        _PAPER, _CODE, "Apache-2.0", "its equations on single samples; the authors' code was read, not run"
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64, 128, 192, 384),
        depths: Sequence[int] = (2, 2, 2, 1),
        ratios: Sequence[int] = (2, 4, 4, 4),
        mamba_depth: int = 4,
        decoder_dim: int = 768,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check(spatial_dims, in_channels, channels, depths, ratios, mamba_depth)
        self.spatial_dims, self.in_channels, self.stride = spatial_dims, in_channels, 2 ** len(depths)
        if decoder_dim < 1 or decoder_dim % self.stride:
            raise ValueError(f"decoder_dim is {decoder_dim}: it must be divisible by {self.stride}")
        self.encoder = HyMambaEncoder(
            spatial_dims,
            in_channels,
            channels,
            depths,
            ratios,
            mamba_depth,
            first_skip=False,
            hides=True,
            use_checkpoint=use_checkpoint,
            mamba=(d_state, d_conv, expand),
        )
        conv = Conv[Conv.CONV, spatial_dims]
        inputs = [channels[-1], *reversed(channels[2:])]
        widths = [decoder_dim // 2**i for i in range(len(inputs) + 1)]
        self.interpolation = nn.Parameter(torch.zeros(channels[-1], channels[-1]))
        self.fills = nn.ParameterList(nn.Parameter(0.02 * torch.randn(width)) for width in inputs[1:])
        self.projections = nn.ModuleList(
            conv(a, b, 3 if i else 1, padding=1 if i else 0)
            for i, (a, b) in enumerate(zip(inputs, widths, strict=False))
        )
        self.fuses = nn.ModuleList(_double(spatial_dims, 2 * width, width) for width in widths[1:-1])
        up = Conv[Conv.CONVTRANS, spatial_dims]
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.ups = nn.ModuleList(up(a, a, 2, 2) for a, _ in pairs)
        self.doubles = nn.ModuleList(_double(spatial_dims, a, b) for a, b in pairs)
        self.head = conv(widths[-1], in_channels, 1)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        visible = self._visible(x, hidden)
        whole = pad_to_multiple(saturate(x), self.stride, first_axis=2)
        shown = whole * F.interpolate(visible.to(whole.dtype), size=whole.shape[2:], mode="nearest")
        maps = reversed(self.encoder(shown, visible))
        given = [saturate(self.projections[i](self._filled(y, visible, i))) for i, y in enumerate(maps)]
        y = given[0]
        for i, (up, double) in enumerate(zip(self.ups, self.doubles, strict=True)):
            if i:
                y = self.fuses[i - 1](torch.cat((y, given[i]), 1))
            y = double(saturate(up(y)))
        return crop(saturate(in_float32(self.head, y)), x.shape[2:], first_axis=2)

    def draw(self, x: Tensor, ratio: float = 0.75) -> Tensor:
        """A random choice of patches to hide, as many in each sample: (B, 1, *S), 1 where the image is hidden.

        Raises:
            ValueError: when the share is not between 0 and 1.
        """
        if not 0 < ratio < 1:
            raise ValueError(f"ratio is {ratio}: give the share of patches to hide, between 0 and 1")
        grid = [-(-n // self.stride) for n in x.shape[2:]]
        count = int(torch.Size(grid).numel())
        ranks = torch.rand(len(x), count, device=x.device).argsort(1).argsort(1)
        hidden = (ranks < round(count * ratio)).to(x.dtype).reshape(len(x), 1, *grid)
        size = [n * self.stride for n in grid]
        return crop(F.interpolate(hidden, size=size, mode="nearest"), x.shape[2:], first_axis=2)

    def _visible(self, x: Tensor, hidden: Tensor) -> Tensor:
        """1 for each patch to see and 0 for the others, (B, 1, *grid)."""
        if hidden.shape != (len(x), 1, *x.shape[2:]):
            raise ValueError(
                f"the mask has shape {tuple(hidden.shape)}: give one number a voxel, {(len(x), 1, *x.shape[2:])}"
            )
        pool = F.max_pool2d if self.spatial_dims == 2 else F.max_pool3d
        visible = 1 - pool(pad_to_multiple((hidden > 0).float(), self.stride, first_axis=2), self.stride)
        counts = visible.flatten(1).sum(1)
        if bool((counts != counts[0]).any()):
            raise ValueError(f"the samples show {counts.int().tolist()} patches: hide as many in each")
        if counts[0] == 0:
            raise ValueError("the mask hides all patches: show at least one")
        return visible

    def _filled(self, y: Tensor, visible: Tensor, level: int) -> Tensor:
        """A map with its hidden patches filled: at the lowest resolution by interpolation, above by one token."""
        seen = F.interpolate(visible, size=y.shape[2:], mode="nearest") > 0.5
        if level:
            fill = self.fills[level - 1].to(y.dtype).reshape(1, -1, *(1,) * self.spatial_dims)
        else:
            with without_autocast(y):
                wide = y.float() if y.element_size() < 4 else y
                tokens = interpolate_states(wide.flatten(2).transpose(1, 2), seen.flatten(1), self.interpolation)
            fill = saturate(tokens).transpose(1, 2).reshape(y.shape).to(y.dtype)
        return torch.where(seen, y, fill)


def _check(
    spatial_dims: int,
    in_channels: int,
    channels: Sequence[int],
    depths: Sequence[int],
    ratios: Sequence[int],
    mamba_depth: int,
) -> None:
    check_choice("spatial_dims", spatial_dims, (2, 3))
    check_positive(in_channels=in_channels, mamba_depth=mamba_depth)
    if len(channels) < 2:
        raise ValueError(f"channels is {list(channels)}: give those of the stem and of at least one level")
    per_stage("channels", channels, len(channels))
    for name, given in (("depths", depths), ("ratios", ratios)):
        per_stage(name, given, len(channels) - 1)


def _double(spatial_dims: int, in_channels: int, channels: int) -> nn.Sequential:
    """Two convolutions, each with batch norm and ReLU behind it."""
    conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
    parts: list[nn.Module] = []
    for width in (in_channels, channels):
        parts += [conv(width, channels, 3, padding=1), Saturate(), norm(channels), nn.ReLU()]
    return nn.Sequential(*parts)
