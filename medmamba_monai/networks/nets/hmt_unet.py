"""HMT-UNet: a U-Net of MambaVision's stages, scans and attention inside windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive, per_stage
from medmamba_monai.networks.blocks.decoders import ExpandDecoder, ExpandHead
from medmamba_monai.networks.blocks.mamba_vision import ConvHalve, ConvResidual, ConvStem, VisionMixer, WindowStage
from medmamba_monai.networks.blocks.pyramid import Pyramid
from medmamba_monai.networks.blocks.vss import check_encoder_arguments, drop_paths, init_linear
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


class HMTUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes by convolutions, scans and attention.

    HMT-UNet (arXiv 2408.11289), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        depths: blocks of each stage, the same in encoder and decoder.
        dim: channels of the first stage; each next one has twice as many.
        in_dim: channels between the two convolutions of the stem.
        num_heads: heads of the attention of each stage.
        window_size: side of the windows of each stage.
        mlp_ratio: hidden width of the MLPs over the channels.
        d_state: numbers in the state of each scanned channel.
        design: "sound", or "released" for what the authors' checkpoints need: windows in all stages of the decoder,
            and the bias of the step size added twice.
        drop_path_rate: chance to drop a branch next to the bottleneck; it falls linearly to 0 towards both ends.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = HMTUNet(2, 1, 2, [1, 1, 2], 8, 4, [1, 2, 2], [4, 4, 2]).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])

    Notes:
        The first two stages are convolutions; in the others the second half of the blocks is attention. The authors'
        code always takes three channels and gives one class behind a sigmoid; here any number, and always logits. A
        variable left over from its encoder puts windows in the two high stages of its decoder as well, where the paper
        draws a mirror of the encoder. Its scans add the bias of the step size inside and outside the projection. Both
        are kept under ``design="released"`` only. Linear maps start with a deviation of 0.02; the mixers keep Mamba's
        own start.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "default": Variant({}, 60_962_589),
            "released": Variant({"design": "released"}, 60_360_509),
        }
    )
    source: ClassVar[Source] = Source(
        "HMT-UNet: A hybird Mamba-Transformer Vision UNet for Medical Image Segmentation (arXiv 2408.11289)",
        "https://github.com/simzhangbest/HMT-Unet @ 2e84d2d",
        NO_FILE + "; it contains MambaVision's code, under the NVIDIA Source Code License-NC",
        "outputs and gradients of a small network of the released design; parameter count of its full size",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        depths: Sequence[int] = (1, 3, 8, 4),
        dim: int = 80,
        in_dim: int = 32,
        num_heads: Sequence[int] = (2, 4, 8, 16),
        window_size: Sequence[int] = (8, 8, 14, 7),
        mlp_ratio: float = 4.0,
        d_state: int = 8,
        design: str = "sound",
        drop_path_rate: float = 0.2,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels, dim=dim, in_dim=in_dim, d_state=d_state)
        check_choice("design", design, ("sound", "released"))
        levels = len(depths)
        dims = [dim * 2**level for level in range(levels)]
        check_encoder_arguments(spatial_dims, in_channels, depths, dims, drop_path_rate)
        heads = per_stage("num_heads", num_heads, levels)
        windows = per_stage("window_size", window_size, levels)
        released = design == "released"

        def stage(level: int, rates: Sequence[float], convolve: bool) -> nn.Module:
            if convolve:
                return nn.Sequential(*(ConvResidual(spatial_dims, dims[level], rate) for rate in rates))
            mixer = {"d_state": d_state, "double_bias": released}
            return WindowStage(dims[level], windows[level], heads[level], rates, mlp_ratio, **mixer)

        down = drop_paths(drop_path_rate, depths)
        stages = [stage(level, rates, level < 2) for level, rates in enumerate(down)]
        bottom, *ups = (stage(i, down[i][::-1], i < 2 and not released) for i in reversed(range(levels)))
        merges = [ConvHalve(spatial_dims, width) for width in dims[:-1]]
        stem = ConvStem(spatial_dims, in_channels, in_dim, dim)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.encoder = Pyramid(spatial_dims, in_channels, dims, stem, stages, merges)
        self.bottom = bottom
        self.decoder = ExpandDecoder(spatial_dims, dims, ups, "add")
        self.head = ExpandHead(spatial_dims, dim, max(dim // 4, 1), out_channels, 4)
        kept = {id(part) for module in self.modules() if isinstance(module, VisionMixer) for part in module.modules()}
        for module in self.modules():
            if id(module) not in kept:
                init_linear(module)

    def forward(self, x: Tensor) -> Tensor:
        *skips, deepest = self.encoder.stage_inputs(x)
        grids = self.decoder(self.bottom(deepest), skips)
        logits: Tensor = self.head(grids[-1], x.shape[2:])
        return logits
