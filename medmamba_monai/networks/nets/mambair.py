"""MambaIR: images denoised, reconstructed or enlarged by groups of scans at full resolution, or by a U-Net of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.restoration import (
    ResidualStateSpaceBlock,
    group_end,
    restoration_head,
)
from medmamba_monai.networks.blocks.vss import drop_paths, init_linear
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.restoration_unet import RestorationUNet
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant

_CODE = "https://github.com/csguoh/MambaIR @ 33d7b34"
_PAPER = "MambaIR: A Simple Baseline for Image Restoration with State-Space Model (arXiv 2402.15648)"
_RGB = (0.4488, 0.4371, 0.4040)


class MambaIR(PublishedNetwork):
    """Denoise or enlarge images.

    MambaIR (arXiv 2402.15648), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the result; those of the image if None.
        dim: channels of a token.
        depths: blocks of each group.
        scale: how much larger each side of the result is.
        upsampler: "shuffle" enlarges in steps of 2 or 3 with convolutions of 64 channels between, "direct" in one
            step, for light networks; without enlargement it has no effect but that "direct" takes lighter blocks.
        last_conv: "1conv" or "3conv", the convolutions at the end of a group.
        mean: subtracted from each channel of the image and added to the result; 0 if None.
        img_range: the image is multiplied by it and the result divided.
        d_state: numbers in the state of each channel.
        d_conv: odd kernel size of the depthwise convolutions.
        expand: inner width of the scan over the channels (the authors' ``mlp_ratio``).
        drop_path_rate: chance to drop the last block's scan; it grows linearly from 0 over the blocks.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S * scale).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = MambaIR(2, 1, dim=8, depths=[1], scale=2)
        >>> net(torch.zeros(1, 1, 9, 12)).shape
        torch.Size([1, 1, 18, 24])

    Notes:
        Without enlargement the network learns what is added to the image, where both have as many channels. The
        authors subtract the mean of a set of photographs from images of three channels; here only ``mean`` says so.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "denoise_gray": Variant({"in_channels": 1, "dim": 180, "depths": [6] * 6}, 20_167_057),
            "classic_x2": Variant(
                {"in_channels": 3, "dim": 180, "depths": [6] * 6, "scale": 2, "mean": _RGB}, 20_421_863
            ),
            "light_x2": Variant(
                {
                    "in_channels": 3,
                    "dim": 60,
                    "depths": [6] * 4,
                    "scale": 2,
                    "upsampler": "direct",
                    "mean": _RGB,
                    "d_state": 10,
                    "expand": 1.2,
                },
                905_016,
            ),
            "defaults": Variant({"in_channels": 3, "mean": _RGB}, 4_306_251),
        }
    )
    source: ClassVar[Source] = Source(
        _PAPER, _CODE, "Apache-2.0", "output and gradients of a small denoising network; parameter counts of four sizes"
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int | None = None,
        dim: int = 96,
        depths: Sequence[int] = (6, 6, 6, 6),
        scale: int = 1,
        upsampler: str = "shuffle",
        last_conv: str = "1conv",
        mean: Sequence[float] | None = None,
        img_range: float = 1.0,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        drop_path_rate: float = 0.1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("upsampler", upsampler, ("shuffle", "direct"))
        check_choice("last_conv", last_conv, ("1conv", "3conv"))
        check_choice("scale", scale, (1, 2, 3, 4, 8))
        check_positive(in_channels=in_channels, out_channels=out_channels, dim=dim)
        per_stage("depths", depths, len(depths))
        if mean is not None and not len(mean) == in_channels == out_channels:
            raise ValueError(f"mean has {len(mean)} entries: give one for each of {in_channels} channels")
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.img_range, self.is_residual = img_range, scale == 1 and in_channels == out_channels
        self.register_buffer("mean", torch.tensor([0.0] if mean is None else list(mean)), persistent=False)
        conv = Conv[Conv.CONV, spatial_dims]
        self.conv_first = conv(in_channels, dim, 3, padding=1)
        self.norm_first, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        block: dict[str, Any] = {"light": upsampler == "direct", "order": "cross"}
        block |= {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        rates = drop_paths(drop_path_rate, depths)
        self.groups = nn.ModuleList(
            nn.ModuleList(ResidualStateSpaceBlock(spatial_dims, dim, rate, **block) for rate in group)
            for group in rates
        )
        self.convs = nn.ModuleList(group_end(spatial_dims, dim, last_conv) for _ in depths)
        self.conv_body = conv(dim, dim, 3, padding=1)
        self.head = restoration_head(spatial_dims, dim, out_channels, scale, upsampler)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        assert isinstance(self.mean, Tensor)
        mean = self.mean.to(x.dtype).reshape(-1, *(1,) * self.spatial_dims)
        x = saturate((x - mean) * self.img_range)
        first = saturate(in_float32(self.conv_first, x))
        y = saturate(in_float32(self.conv_body, self.features(first)) + first)
        y = saturate(in_float32(self.head, y))
        return saturate((x + y if self.is_residual else y) / self.img_range + mean)

    def features(self, x: Tensor) -> Tensor:
        """All groups, each beside the identity: (B, dim, *S) to the same shape."""
        y = self.norm_first(x.movedim(1, -1))
        for group, conv in zip(self.groups, self.convs, strict=True):
            z = y
            assert isinstance(group, nn.ModuleList)
            for block in group:
                z = run(block, z, use_checkpoint=self.use_checkpoint)
            y = saturate(y + in_float32(conv, z.movedim(-1, 1)).movedim(1, -1))
        normed: Tensor = self.norm(y)
        return normed.movedim(-1, 1)


class MambaIRUNet(RestorationUNet):
    """Denoise images by a U-Net of residual state-space blocks.

    MambaIR (arXiv 2402.15648), section 4.4 (real denoising), in the frame of Restormer (arXiv 2111.09881).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the result; those of the image if None.
        dim: channels of the first level, divisible by 2, in 3D by 4; each of the levels has twice the channels of the
            one before.
        depths: blocks of each level.
        refinement: blocks after the decoder.
        bias: give the last and the pointwise convolutions a bias.
        d_state: numbers in the state of each channel.
        d_conv: odd kernel size of the depthwise convolutions.
        expand: inner width of the scan over the channels (the authors' ``mlp_ratio``).
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = MambaIRUNet(2, 1, dim=4, depths=[1, 1], refinement=1)
        >>> net(torch.zeros(1, 1, 9, 12)).shape
        torch.Size([1, 1, 9, 12])

    Notes:
        Sizes that the levels do not divide are padded with zeros, where the authors' code stops. Their task with two
        inputs of pixels is broken and not here.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"real_denoising": Variant({"in_channels": 3}, 30_750_424)}
    )
    source: ClassVar[Source] = Source(
        _PAPER, _CODE, "Apache-2.0", "output and gradients of a small network; parameter count"
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int | None = None,
        dim: int = 48,
        depths: Sequence[int] = (4, 6, 6, 8),
        refinement: int = 4,
        bias: bool = False,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        scan: dict[str, Any] = {"order": "cross", "d_state": d_state, "d_conv": d_conv, "expand": expand}
        block = partial(ResidualStateSpaceBlock, spatial_dims, **scan)
        frame = (spatial_dims, in_channels, out_channels, dim, depths, refinement, bias)
        super().__init__(*frame, block, use_checkpoint=use_checkpoint)
        self.apply(init_linear)
