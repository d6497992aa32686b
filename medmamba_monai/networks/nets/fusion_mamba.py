"""FusionMamba: two images of the same place become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.decoders import ExpandHead
from medmamba_monai.networks.blocks.fusion_mamba import CrossBlock, DynamicVSSBlock
from medmamba_monai.networks.blocks.patches import PatchEmbed, PatchExpand, PatchMerging
from medmamba_monai.networks.blocks.vss import check_encoder_arguments, init_linear
from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class FusionMamba(PublishedNetwork):
    """Fuse two images, for example MR and PET.

    FusionMamba (arXiv 2404.09498), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of each image and of the result.
        depths: blocks of each encoder stage.
        depths_decoder: blocks of each decoder stage, from the lowest resolution up.
        dims: channels of each stage, each twice the one before.
        patch_size: side of a patch.
        design: "paper" for a gate of each image in the joint scan; "released" for the authors' code, which gates
            twice by the first.
        d_state: numbers in the state of each channel of the joint scan; the other scans have 16, as in the authors'
            code.
        d_conv: odd kernel size of the depthwise convolutions.
        expand: inner width of the mixers over the channels.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        two images (B, in_channels, *S) of any size; returns (B, in_channels, *S).

    Raises:
        ValueError: when an argument is out of range, lists differ in length, or the inputs do not fit.
        TypeError: when an input is not of floating point.

    Example:
        >>> import torch
        >>> net = FusionMamba(2, 1, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16])
        >>> net(torch.zeros(1, 1, 17, 20), torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 1, 17, 20])

    Notes:
        The result is what the network gives plus twice both images. The authors' code joins the maps of the first
        stage too and throws the result away; that block is not here and dropped from checkpoints.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"defaults": Variant({}, 163_819_456)})
    source: ClassVar[Source] = Source(
        "FusionMamba: Dynamic Feature Enhancement for Multimodal Image Fusion with Mamba (arXiv 2404.09498)",
        "https://github.com/millieXie/FusionMamba @ 3ee1e7a",
        "none found in the repository; this package copies nothing",
        "output and gradients of a small network (released design); parameter count but for the dead weights",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        depths: Sequence[int] = (2, 2, 9, 2),
        depths_decoder: Sequence[int] = (2, 9, 2, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        patch_size: int = 4,
        design: str = "paper",
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_encoder_arguments(spatial_dims, in_channels, depths, dims, 0.0)
        check_choice("design", design, ("paper", "released"))
        check_positive(patch_size=patch_size, d_state=d_state)
        per_stage("depths_decoder", depths_decoder, len(dims))
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        order = {2: "atrous:2", 3: "cross"}[spatial_dims]
        scan: dict[str, Any] = {"order": order, "d_conv": d_conv, "expand": expand}

        def stage(width: int, depth: int) -> nn.Sequential:
            return nn.Sequential(*(DynamicVSSBlock(spatial_dims, width, **scan) for _ in range(depth)))

        self.embeds = nn.ModuleList(PatchEmbed(spatial_dims, in_channels, dims[0], patch_size) for _ in range(2))
        self.encoder = nn.ModuleList(map(stage, dims, depths))
        self.merges = nn.ModuleList(PatchMerging(spatial_dims, width) for width in dims[:-1])
        self.crosses = nn.ModuleList(
            CrossBlock(spatial_dims, width, design == "released", d_state=d_state, **scan) for width in dims[1:]
        )
        upper = list(reversed(dims))
        self.decoder = nn.ModuleList(map(stage, upper, depths_decoder))
        self.expands = nn.ModuleList(PatchExpand(spatial_dims, width, width // 2) for width in upper[:-1])
        self.head = ExpandHead(spatial_dims, dims[0], max(dims[0] // 4, 1), in_channels, patch_size)
        self.apply(init_linear)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        for image in (first, second):
            check_input(image, self.spatial_dims, self.in_channels)
        if first.shape != second.shape:
            raise ValueError(f"the images have shapes {tuple(first.shape)} and {tuple(second.shape)}: make them alike")
        images = [saturate(first), saturate(second)]
        (deep1, inputs1), (deep2, inputs2) = (
            self.encode(embed(image)) for embed, image in zip(self.embeds, images, strict=True)
        )
        y = self._run(self.decoder[0], saturate(deep1 + deep2))
        pairs = list(zip(self.crosses, inputs1[1:], inputs2[1:], strict=True))
        for i, (expand, stage) in enumerate(zip(self.expands, self.decoder[1:], strict=True)):
            cross, a, b = pairs[-1 - i]
            y = expand(saturate(y + run(cross, a, b, use_checkpoint=self.use_checkpoint)), inputs1[-2 - i].shape[1:-1])
            y = self._run(stage, y)
        fused = self.head(y, first.shape[2:])
        return saturate(fused + saturate(2 * images[0]) + saturate(2 * images[1]))

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The deepest grid of one image, and what goes into each stage, channels last."""
        inputs = []
        for i, stage in enumerate(self.encoder):
            inputs.append(self.merges[i - 1](x) if i else x)
            x = self._run(stage, inputs[-1])
        return x, inputs

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        return run(stage, x, use_checkpoint=self.use_checkpoint)
