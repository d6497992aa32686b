"""Vivim: SegFormer's stages on each frame of a clip, with tri-orientated Mamba across the frames after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.seg_mamba import TemporalMamba
from medmamba_monai.networks.blocks.segformer import MlpDecoder, SegFormerBlock
from medmamba_monai.networks.blocks.vss import drop_paths
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class Vivim(PublishedNetwork):
    """Segment all frames of a clip.

    Vivim (arXiv 2401.14168), figure 1.

    Args:
        spatial_dims: 3: frames, height and width.
        in_channels: channels of a frame.
        out_channels: classes, background included; 1 gives logits of one class.
        dims: channels of each stage.
        depths: SegFormer blocks of each stage.
        mamba_depths: Mamba blocks of each stage.
        heads: attention heads of each stage.
        reductions: how much smaller the map is that each stage attends to.
        decoder_dim: channels of the decoder.
        slices: number of frames that the third scan takes a clip for; None counts them.
        edges: also give logits of the edges of what is segmented, from the first stage.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolutions.
        expand: inner width of Mamba over its channels.
        drop_path_rate: chance to drop a SegFormer branch of the last block; it grows linearly from 0 over the blocks.
        use_checkpoint: while training, compute the Mamba blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, frames, H, W) of any size; returns (B, out_channels, frames, H, W), and with ``edges`` a pair
        of them and of the edges' logits (B, 1, frames, H, W).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = Vivim(3, 1, 2, dims=[4, 8], depths=[1, 1], mamba_depths=[1, 1], heads=[1, 2], reductions=[2, 1])
        >>> net(torch.zeros(2, 1, 3, 17, 20)).shape
        torch.Size([2, 2, 3, 17, 20])

    Notes:
        The authors' third scan always takes a clip for five frames; ``slices=5`` does so too. Their clips are
        (B, frames, channels, H, W) and their results (B * frames, classes, H, W). MONAI's LabelToContour makes edges
        to compare with from labels. A SegFormer encoder trained elsewhere can be put into ``patches`` and ``blocks``.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"segformer_b3": Variant({}, 59_503_041), "segformer_b3_edges": Variant({"edges": True}, 59_503_106)}
    )
    source: ClassVar[Source] = Source(
        "Vivim: a Video Vision Mamba for Medical Video Segmentation (arXiv 2401.14168)",
        "https://github.com/scott-yjyang/Vivim @ 2bcd619",
        "CC BY-NC 4.0; this package copies nothing",
        "output and gradients of a small network without edges on clips of five frames; parameter count but for the "
        "dead weights; the edges' head by its equation",
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 3,
        out_channels: int = 1,
        dims: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (3, 4, 18, 3),
        mamba_depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 5, 8),
        reductions: Sequence[int] = (8, 4, 2, 1),
        decoder_dim: int = 768,
        slices: int | None = None,
        edges: bool = False,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        drop_path_rate: float = 0.1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (3,))
        check_positive(in_channels=in_channels, out_channels=out_channels, decoder_dim=decoder_dim)
        stages = len(dims)
        lists = {"depths": depths, "mamba_depths": mamba_depths, "heads": heads, "reductions": reductions}
        for name, given in lists.items():
            per_stage(name, given, stages)
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.patches, self.patch_norms = nn.ModuleList(), nn.ModuleList()
        self.blocks, self.mixers = nn.ModuleList(), nn.ModuleList()
        rates = drop_paths(drop_path_rate, depths)
        for i, width in enumerate(dims):
            kernel, stride = (7, 4) if i == 0 else (3, 2)
            self.patches.append(nn.Conv2d(dims[i - 1] if i else in_channels, width, kernel, stride, kernel // 2))
            self.patch_norms.append(nn.LayerNorm(width))
            self.blocks.append(
                nn.Sequential(*(SegFormerBlock(width, heads[i], reductions[i], drop_path=rate) for rate in rates[i]))
            )
            mamba = (width, d_state, d_conv, expand, slices)
            self.mixers.append(nn.Sequential(*(TemporalMamba(*mamba) for _ in range(mamba_depths[i]))))
        self.decoder = MlpDecoder(dims, decoder_dim)
        self.head = nn.Conv2d(decoder_dim, out_channels, 1)
        self.edge_head = nn.Conv2d(dims[0], 1, 1) if edges else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        check_input(x, self.spatial_dims, self.in_channels)
        clips, size = x.shape[0], x.shape[3:]
        y = saturate(x).transpose(1, 2).flatten(0, 1)
        maps = []
        for patch, norm, blocks, mixers in zip(self.patches, self.patch_norms, self.blocks, self.mixers, strict=True):
            tokens = blocks(norm(saturate(patch(y)).movedim(1, -1)))
            clip = tokens.unflatten(0, (clips, -1)).movedim(-1, 1)
            y = run(mixers, clip, use_checkpoint=self.use_checkpoint).transpose(1, 2).flatten(0, 1)
            maps.append(y)
        logits = _resized(self.head, self.decoder(maps), size, clips)
        return logits if self.edge_head is None else (logits, _resized(self.edge_head, maps[0], size, clips))


def _resized(head: nn.Module, y: Tensor, size: Sequence[int], clips: int) -> Tensor:
    """The logits that a head gives of all frames, at the frames' size and one clip after the other."""
    logits = saturate(in_float32(head, y))
    logits = F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)
    per_clip: Tensor = logits.unflatten(0, (clips, -1)).transpose(1, 2)
    return per_clip
