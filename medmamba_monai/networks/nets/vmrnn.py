"""VMRNN: recurrent cells of VSS blocks that predict the frames that follow a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.patches import PatchEmbed, PatchExpand, PatchMerging, crop
from medmamba_monai.networks.blocks.recurrent import CellState, PatchInflate, VMRNNCell
from medmamba_monai.networks.blocks.vss import drop_paths
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


class VMRNN(PublishedNetwork):
    """Predict the frames that follow a clip.

    VMRNN (arXiv 2403.16536), the networks VMRNN-B and VMRNN-D.

    Args:
        spatial_dims: 3: frames, height and width.
        in_channels: channels of a frame, of the given and of the predicted ones.
        out_frames: how many frames to predict after the clip.
        design: "basic" (VMRNN-B) for cells one after another at one resolution, "deep" (VMRNN-D) for cells with a step
            to half the resolution after each, and as many that lead back.
        patch_size: side of a patch: 2, 4 or 8.
        dim: channels of the first cell; with "deep" each level has twice the channels of the one before.
        depths: VSS blocks of each cell.
        depths_decoder: with "deep", VSS blocks of each cell on the way back, from the lowest resolution up; the
            reversed ``depths`` if None.
        d_state: numbers in the state of each channel of a scan.
        d_conv: odd kernel size of the depthwise convolutions.
        expand: inner width of the mixers over the channels.
        drop_path_rate: chance to drop a branch while training; with "deep" that of the last block of each way, and it
            grows linearly from 0, with "basic" that of all blocks.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, frames, H, W) of any size, from 0 to 1. Returns the predictions of all frames but the first
        and of ``out_frames`` more, (B, in_channels, frames - 1 + out_frames, H, W): a loss compares all of them with
        the frames themselves, and the last ``out_frames`` lie behind the clip.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = VMRNN(3, 1, out_frames=4, dim=8, depths=[1])
        >>> net(torch.zeros(2, 1, 3, 15, 20)).shape
        torch.Size([2, 1, 6, 15, 20])

    Notes:
        While it sees the clip, each frame is predicted from the given one before it, later frames from predictions.
        The authors' code holds projections that it never uses, which are not here: with them "basic_taxibj" has
        2,579,970 parameters. A sigmoid ends the network, so intensities must lie between 0 and 1.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "basic_kth": Variant({"depths": (6,)}, 1_050_241),
            "basic_taxibj": Variant({"in_channels": 2, "out_frames": 4, "patch_size": 4, "depths": (12,)}, 2_218_114),
            "deep_mnist": Variant({"design": "deep", "depths": (2, 6), "depths_decoder": (2, 6)}, 13_395_329),
        }
    )
    source: ClassVar[Source] = Source(
        "VMRNN: Integrating Vision Mamba and LSTM for Efficient and Accurate Spatiotemporal Forecasting "
        "(arXiv 2403.16536)",
        "https://github.com/yyyujintang/VMRNN-PyTorch @ be7efe4",
        NO_FILE,
        "equations of both designs written out on the same weights; the authors' code was read, not run",
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_frames: int = 10,
        design: str = "basic",
        patch_size: int = 2,
        dim: int = 128,
        depths: Sequence[int] = (6,),
        depths_decoder: Sequence[int] | None = None,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        drop_path_rate: float = 0.1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (3,))
        check_choice("design", design, ("basic", "deep"))
        check_positive(in_channels=in_channels, out_frames=out_frames, dim=dim)
        if not depths:
            raise ValueError("depths is empty: give the blocks of at least one cell")
        depths = per_stage("depths", depths, len(depths))
        if design == "basic" and depths_decoder is not None:
            raise ValueError("depths_decoder is given: it goes with design='deep'")
        self.spatial_dims, self.in_channels, self.out_frames = spatial_dims, in_channels, out_frames
        deep = design == "deep"
        back = per_stage("depths_decoder", depths_decoder or depths[::-1], len(depths)) if deep else ()
        self.patch_embed = PatchEmbed(2, in_channels, dim, patch_size)
        scan: dict[str, Any] = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        scan["use_checkpoint"] = use_checkpoint
        rates = drop_paths(drop_path_rate, depths) if deep else [[drop_path_rate] * depth for depth in depths]
        widths = [dim * 2**i if deep else dim for i in range(len(depths))]
        self.encoder = nn.ModuleList(
            VMRNNCell(2, width, rate, **scan) for width, rate in zip(widths, rates, strict=True)
        )
        self.merges = nn.ModuleList(PatchMerging(2, width) for width in widths if deep)
        rates = drop_paths(drop_path_rate, back[::-1])[::-1]
        ups = list(zip(reversed(widths), rates, strict=True)) if deep else []
        self.decoder = nn.ModuleList(VMRNNCell(2, 2 * width, rate, **scan) for width, rate in ups)
        self.expands = nn.ModuleList(PatchExpand(2, 2 * width, width) for width, _ in ups)
        self.inflate = PatchInflate(2, dim, in_channels, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        states: list[CellState] | None = None
        predictions = []
        *given, frame = x.unbind(2)
        for shown in given:
            predicted, states = self.step(shown, states)
            predictions.append(predicted)
        for _ in range(self.out_frames):
            frame, states = self.step(frame, states)
            predictions.append(frame)
        return torch.stack(predictions, 2)

    def step(self, frame: Tensor, states: Sequence[CellState] | None = None) -> tuple[Tensor, list[CellState]]:
        """The next frame, (B, in_channels, H, W), and what the cells remember for the one after it."""
        check_input(frame, self.spatial_dims - 1, self.in_channels)
        cells = len(self.encoder) + len(self.decoder)
        before = iter([None] * cells if states is None else states)
        after: list[CellState] = []
        y, sizes = self.patch_embed(frame), []
        for i, cell in enumerate(self.encoder):
            after.append(cell(y, next(before)))
            y = after[-1][0]
            if self.merges:
                sizes.append(y.shape[1:-1])
                y = self.merges[i](y)
        for cell, expand in zip(self.decoder, self.expands, strict=True):
            after.append(cell(y, next(before)))
            y = expand(after[-1][0], sizes.pop())
        return crop(self.inflate(y), frame.shape[2:], first_axis=2).sigmoid(), after
