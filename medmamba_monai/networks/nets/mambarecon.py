"""MambaRecon: MR images from undersampled data, by scans between steps that restore what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.data_consistency import keep_measured
from medmamba_monai.networks.blocks.patches import PatchEmbed
from medmamba_monai.networks.blocks.unpatchify import Unpatchify
from medmamba_monai.networks.blocks.vss import VSSBlock, init_linear
from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class MambaRecon(PublishedNetwork):
    """Reconstruct an MR image from undersampled k-space of one or more coils.

    MambaRecon (arXiv 2409.12401), figure 1.

    Args:
        spatial_dims: 2 or 3.
        dim: channels of a token.
        depths: VSS blocks of each cascade.
        patch_size: side of a patch.
        d_state: numbers in the state of each channel.
        d_conv: odd kernel size of the depthwise convolutions.
        expand: inner width of the mixers over the channels.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, 2, *S), real and imaginary part of the zero-filled image; mask (B, 1, *S) or broadcast to it, above 0
        where k-space was measured, its centre in the middle; maps (B, coils, *S, 2), the coils' complex
        sensitivities in MONAI's layout. Returns (B, 2, *S).

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when the image is not of floating point.

    Example:
        >>> import torch
        >>> net = MambaRecon(2, dim=8, depths=[1])
        >>> net(torch.rand(1, 2, 9, 12), torch.ones(1, 1, 1, 12), torch.rand(1, 3, 9, 12, 2)).shape
        torch.Size([1, 2, 9, 12])

    Notes:
        Images that the patches do not divide are padded with zeros inside the network; data consistency works on the
        image's own size.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "patch_4": Variant({"patch_size": 4}, 2_090_880),
            "patch_2": Variant({"patch_size": 2}, 2_047_872),
        }
    )
    source: ClassVar[Source] = Source(
        "MambaRecon: MRI Reconstruction with Structured State Space Models (arXiv 2409.12401)",
        "https://github.com/yilmazkorkmaz1/MambaRecon @ 4e4d343",
        "MIT",
        "output and gradients of a small network; parameter counts but for the dead weights",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        dim: int = 128,
        depths: Sequence[int] = (2, 2, 2, 2, 2, 2),
        patch_size: int = 2,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(dim=dim, patch_size=patch_size)
        per_stage("depths", depths, len(depths))
        self.spatial_dims, self.use_checkpoint = spatial_dims, use_checkpoint
        scan: dict[str, Any] = {"order": "cross", "d_state": d_state, "d_conv": d_conv, "expand": expand}
        self.embeds = nn.ModuleList(PatchEmbed(spatial_dims, 2, dim, patch_size) for _ in range(len(depths) + 1))
        self.stages = nn.ModuleList(
            nn.Sequential(*(VSSBlock(spatial_dims, dim, **scan) for _ in range(depth))) for depth in depths
        )
        self.unpatchify = nn.ModuleList(Unpatchify(spatial_dims, dim, patch_size) for _ in range(len(depths) + 1))
        self.norm = nn.LayerNorm(dim)
        self.apply(init_linear)

    def forward(self, x: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, 2)
        size = x.shape[2:]
        image = saturate(x)
        y = self.embeds[0](image)
        for stage, embed, unpatchify in zip(self.stages, self.embeds[1:], self.unpatchify[:-1], strict=True):
            y = run(stage, y, use_checkpoint=self.use_checkpoint)
            kept = keep_measured(unpatchify(y, size), image, mask, maps)
            y = saturate(y + embed(F.silu(kept)))
        return keep_measured(self.unpatchify[-1](self.norm(y), size), image, mask, maps)
