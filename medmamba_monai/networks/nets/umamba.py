"""U-Mamba: nnU-Net's residual U-Net with Mamba at the bottleneck or all along the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import (
    check_choice,
    check_input,
    check_positive,
    per_stage,
    per_stage_and_axis,
)
from medmamba_monai.networks.blocks.u_mamba import (
    MambaTokenBlock,
    NameOrPair,
    ResidualConvBlock,
    init_he,
    make_act,
    make_norm,
)
from medmamba_monai.networks.layers.precision import Saturate, in_float32, saturate
from medmamba_monai.networks.nets.umamba_variants import VARIANTS
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source


class UMamba(PublishedNetwork):
    """Segment 2D images or 3D volumes with convolutions and selective state spaces.

    U-Mamba (arXiv 2401.04722), figure 1. The network is nnU-Net's residual encoder and decoder; Mamba layers work on
    the voxels of a feature map, read row by row.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        features: channels of each stage, from full resolution down.
        strides: stride of each stage, a number or one an axis; default 1 and then 2.
        kernel_sizes: odd kernel size of each stage, a number or one an axis.
        n_blocks: residual blocks of each encoder stage.
        n_decoder_blocks: residual blocks of each decoder stage, from the lowest resolution up.
        variant: "bottleneck" puts Mamba after the last encoder stage, "encoder" after every one.
        mamba_stages: the stages with Mamba, counted from 0, instead of those of the variant.
        design: "released" for the blocks of the public code, "paper" for those of the paper's network: a plain
            convolution as stem, pooled shortcuts and transposed convolutions.
        top_skip: concatenate the encoder's full-resolution map in the last decoder stage.
        channel_tokens: where a map has no more voxels than channels, make the channels the tokens. The network then
            works at ``img_size`` only.
        img_size: size of the input, needed by ``channel_tokens`` only.
        deep_supervision: while training, return one output a decoder stage.
        conv_bias: give the convolutions a bias. The released design keeps that of the first block of each stage, and
            both designs that of the heads, as the authors' code does.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.
        norm: MONAI's name of the norm, or (name, arguments).
        act: MONAI's name of the activation, or (name, arguments).

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S). With deep supervision and in training mode a
        list of such tensors, full resolution first, each next one at the resolution of its decoder stage.

    Raises:
        ValueError: when an argument is out of range, lists differ in length, or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = UMamba(2, 1, 2, features=[8, 16], n_blocks=1, n_decoder_blocks=1)
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        The authors' public code differs from their paper's network: it lowers block counts (`released_block_counts`),
        has other shortcuts and another stem, uses channel tokens and, in 2D, leaves out the last skip and every other
        Mamba layer. Each is an option here, off by default unless named by ``design``; `from_variant` sets them all.
        Sizes that strides do not divide work: maps are rounded up on the way down and upsampled to the skip's size.
        Convolutions saturate instead of overflowing under float16, and Mamba computes in float32.
    """

    variants = VARIANTS
    source: ClassVar[Source] = Source(
        "U-Mamba: Enhancing Long-range Dependency for Biomedical Image Segmentation (arXiv 2401.04722)",
        "https://github.com/bowang-lab/U-Mamba @ 28459e3",
        "Apache-2.0",
        "outputs and gradients of both forms in 2D and 3D; parameter counts of the published plans",
    )

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int] = (32, 64, 128, 256, 320, 320),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: int | Sequence[int | Sequence[int]] = 3,
        n_blocks: int | Sequence[int] = 2,
        n_decoder_blocks: int | Sequence[int] = 2,
        variant: str = "bottleneck",
        mamba_stages: Sequence[int] | None = None,
        design: str = "released",
        top_skip: bool = True,
        channel_tokens: bool = False,
        img_size: Sequence[int] | None = None,
        deep_supervision: bool = False,
        conv_bias: bool = True,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        norm: NameOrPair = "instance",
        act: NameOrPair = ("leakyrelu", {"negative_slope": 0.01, "inplace": True}),
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("variant", variant, ("bottleneck", "encoder"))
        check_choice("design", design, ("released", "paper"))
        check_positive(in_channels=in_channels, out_channels=out_channels)
        features = tuple(features)
        stages = len(features)
        if stages < 2:
            raise ValueError(f"features has {stages} entries: give at least 2, one a stage")
        per_stage("features", features, stages)
        strides = (1,) + (2,) * (stages - 1) if strides is None else strides
        self.spatial_dims, self.in_channels, self.deep_supervision = spatial_dims, in_channels, deep_supervision
        self.top_skip = top_skip
        self.strides = per_stage_and_axis("strides", strides, stages, spatial_dims)
        kernels = per_stage_and_axis("kernel_sizes", kernel_sizes, stages, spatial_dims)
        if any(k % 2 == 0 for kernel in kernels for k in kernel):
            raise ValueError(f"kernel_sizes is {kernel_sizes}: use odd sizes, which keep a map's size")
        depths = per_stage("n_blocks", n_blocks, stages)
        up_depths = per_stage("n_decoder_blocks", n_decoder_blocks, stages - 1)
        block: dict[str, Any] = {"norm": norm, "act": act, "bias": conv_bias}
        self._build_encoder(features, kernels, depths, design, block)
        self._build_decoder(features, kernels, up_depths, design, out_channels, block)
        places = _mamba_places(variant, mamba_stages, stages)
        sizes = _channel_token_sizes(channel_tokens, img_size, features, self.strides)
        self.mixers = nn.ModuleList(
            MambaTokenBlock(features[s], d_state, d_conv, expand, sizes[s]) if s in places else nn.Identity()
            for s in range(stages)
        )
        self.apply(init_he)

    def _build_encoder(
        self,
        features: tuple[int, ...],
        kernels: tuple[tuple[int, ...], ...],
        depths: tuple[int, ...],
        design: str,
        block: dict[str, Any],
    ) -> None:
        dims, ones = self.spatial_dims, (1,) * self.spatial_dims
        if design == "released":
            self.stem = _stage(dims, self.in_channels, features[0], kernels[0], ones, depths[0], design, block)
        else:
            padding = tuple(k // 2 for k in kernels[0])
            conv = Conv[Conv.CONV, dims](self.in_channels, features[0], kernels[0], 1, padding, bias=block["bias"])
            norm = make_norm(block["norm"], dims, features[0])
            self.stem = nn.Sequential(conv, Saturate(), norm, make_act(block["act"]))
        widths = (features[0], *features)
        self.encoder = nn.ModuleList(
            _stage(dims, widths[s], widths[s + 1], kernels[s], self.strides[s], depths[s], design, block)
            for s in range(len(features))
        )

    def _build_decoder(
        self,
        features: tuple[int, ...],
        kernels: tuple[tuple[int, ...], ...],
        depths: tuple[int, ...],
        design: str,
        out_channels: int,
        block: dict[str, Any],
    ) -> None:
        dims, ones = self.spatial_dims, (1,) * self.spatial_dims
        self.up, self.decoder, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for depth, s in zip(depths, range(len(features) - 2, -1, -1), strict=True):
            if design == "paper":
                stride = self.strides[s + 1]
                up = Conv[Conv.CONVTRANS, dims]
                self.up.append(up(features[s + 1], features[s], stride, stride, bias=block["bias"]))
            else:
                self.up.append(Conv[Conv.CONV, dims](features[s + 1], features[s], 1))
            width = 2 * features[s] if s > 0 or self.top_skip else features[s]
            self.decoder.append(_stage(dims, width, features[s], kernels[s], ones, depth, design, block))
            self.heads.append(Conv[Conv.CONV, dims](features[s], out_channels, 1))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_input(x, self.spatial_dims, self.in_channels)
        return self.decode(self.encode(saturate(x)))

    def encode(self, x: Tensor) -> list[Tensor]:
        """The map of each stage, full resolution first."""
        x = self.stem(x)
        skips = []
        for stage, mixer in zip(self.encoder, self.mixers, strict=True):
            x = mixer(stage(x))
            skips.append(x)
        return skips

    def decode(self, skips: list[Tensor]) -> Tensor | list[Tensor]:
        """The logits from the encoder's maps: one tensor, or with deep supervision in training one a stage."""
        x = skips[-1]
        every = self.returns_all()
        outputs = []
        for i, (up, stage, head) in enumerate(zip(self.up, self.decoder, self.heads, strict=True)):
            skip = skips[-2 - i]
            x = _upsample(saturate(in_float32(up, x)), skip)
            last = i == len(self.decoder) - 1
            x = stage(torch.cat((x, skip), 1) if self.top_skip or not last else x)
            if every or last:
                outputs.append(saturate(in_float32(head, x)))
        return outputs[::-1] if every else outputs[-1]

    def returns_all(self) -> bool:
        """Whether `forward` returns the outputs of all stages: with deep supervision, in training."""
        return self.deep_supervision and self.training

    @classmethod
    def from_variant(cls, name: str, **overrides: Any) -> UMamba:
        """Build a published network; `variants` lists names and parameter counts.

        Raises:
            ValueError: when the name is unknown.

        Example:
            >>> with torch.device("meta"):
            ...     net = UMamba.from_variant("bottleneck_3d", out_channels=2)
            >>> sum(p.numel() for p in net.parameters())
            42120394
        """
        check_choice("name", name, tuple(cls.variants))
        return cls(**{**cls.variants[name].arguments, **overrides})


def _stage(
    spatial_dims: int,
    in_channels: int,
    channels: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    depth: int,
    design: str,
    block: dict[str, Any],
) -> nn.Sequential:
    ones = (1,) * spatial_dims
    # the authors' released code gives its own blocks a bias whatever is asked for
    first = {**block, "shortcut": "conv", "bias": True} if design == "released" else {**block, "shortcut": "pool"}
    blocks = [ResidualConvBlock(spatial_dims, in_channels, channels, kernel, stride, **first)]
    for _ in range(depth - 1):
        blocks.append(ResidualConvBlock(spatial_dims, channels, channels, kernel, ones, "identity", **block))
    return nn.Sequential(*blocks)


def _upsample(x: Tensor, skip: Tensor) -> Tensor:
    """Nearest-neighbour upsampling to the skip's size; what a transposed convolution made too large is cut off.

    The pointwise convolution comes before it: the two commute, and on the small map it costs a fraction.
    """
    size = skip.shape[2:]
    for axis, length in enumerate(size, start=2):
        x = x[(slice(None),) * axis + (slice(length),)]
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="nearest")


def _mamba_places(variant: str, mamba_stages: Sequence[int] | None, stages: int) -> set[int]:
    if mamba_stages is None:
        return {stages - 1} if variant == "bottleneck" else set(range(stages))
    for s in mamba_stages:
        if not 0 <= s < stages:
            raise ValueError(f"mamba_stages names stage {s}: the stages are 0 to {stages - 1}")
    return set(mamba_stages)


def _channel_token_sizes(
    channel_tokens: bool,
    img_size: Sequence[int] | None,
    features: tuple[int, ...],
    strides: tuple[tuple[int, ...], ...],
) -> list[tuple[int, ...] | None]:
    """The map's size in each stage where channels become tokens, None elsewhere."""
    if not channel_tokens:
        return [None] * len(features)
    if img_size is None or len(img_size) != len(strides[0]):
        raise ValueError(f"img_size is {img_size}: channel_tokens=True needs the input's size, one number an axis")
    size, sizes = tuple(img_size), []
    for width, stride in zip(features, strides, strict=True):
        if any(n % k for n, k in zip(size, stride, strict=True)):
            raise ValueError(f"img_size {tuple(img_size)} is not divisible by the strides {strides}: pad it")
        size = tuple(n // k for n, k in zip(size, stride, strict=True))
        voxels = 1
        for n in size:
            voxels *= n
        sizes.append(size if voxels <= width else None)
    return sizes
