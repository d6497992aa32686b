"""Mamba-ND: a plain stack of Mamba layers, each of which reads the grid along other axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from monai.networks.layers.drop_path import DropPath
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.patches import PatchMerging
from medmamba_monai.networks.blocks.plain import PatchTokens
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.layers.sequence_mixer import SequenceMixer
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant

# The axes from the slowest to the fastest, and a minus where the layer reads backwards; the layers take them in turn.
ORDERS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {2: ("hw", "-hw", "wh", "-wh"), 3: ("dhw", "-dhw", "dwh", "-dwh", "whd", "-whd")}
)
_IMAGE: Mapping[str, Any] = MappingProxyType(
    {"img_size": 224, "patch_size": 8, "halve_after": [9], "residual": "normed", "drop_path_rate": 0.1}
)
_VIDEO: Mapping[str, Any] = MappingProxyType(
    {
        "spatial_dims": 3,
        "num_classes": 400,
        "img_size": [32, 224, 224],
        "patch_size": [2, 16, 16],
        "depth": 36,
        "residual": "normed",
        "norms": "none",
        "drop_path_rate": 0.1,
    }
)


class MambaND(PublishedNetwork):
    """Classify images or volumes, or give the maps of tokens to another network.

    Mamba-ND (arXiv 2402.05892), figure 1 and section 3.3.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        img_size: size of the training images, a number or one an axis; other sizes work too.
        patch_size: side of a patch, a number or one an axis.
        dim: channels of a token.
        depth: number of layers.
        orders: the orders that layers take in turn, see `medmamba_monai.ops.scan_order`; the paper's if None: forwards
            and backwards along each of the axes' orders.
        halve_after: layers (counted from 0) after which the grid is halved.
        residual: "plain" adds a layer's result to its input, "normed" to its normed input, as the authors' code does.
        norms: "both" for a norm of the last tokens and one of their mean, "none" for neither.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the layers over the channels.
        drop_path_rate: chance to drop the last layer's branch; it grows linearly from 0 over the layers.
        features_only: return the maps in front of every halving and the last one; there is no head then.

    Shape:
        x (B, in_channels, *S) of any size: it is padded with zeros to whole patches. Returns (B, num_classes), or with
        ``features_only`` a list of maps (B, dim, *S_i), the highest resolution first.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = MambaND(3, 1, 2, img_size=16, patch_size=4, dim=8, depth=6)
        >>> net(torch.zeros(2, 1, 16, 12, 16)).shape
        torch.Size([2, 2])

    Notes:
        In the authors' code a layer normalises the tokens and adds the mixer's result to the normed ones, so that
        nothing passes by the norms; the paper draws the usual residual, which is the default here, and the published
        sizes take the code's. Its 3D network interpolates positions as if height and width were equal; here each axis
        counts. Its dropout of the embedded tokens is not built. The sizes of "small" and "base" are those of the
        configurations for images, "video_small" of that for videos.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "small": Variant({"dim": 384, **_IMAGE}, 24_505_192),
            "base": Variant({"dim": 768, **_IMAGE}, 94_425_832),
            "video_small": Variant({"dim": 384, **_VIDEO}, 36_674_320),
        }
    )
    source: ClassVar[Source] = Source(
        "Mamba-ND: Selective State Space Modeling for Multi-Dimensional Data (arXiv 2402.05892)",
        "https://github.com/jacklishufan/Mamba-ND @ 180373b",
        NO_FILE,
        "a small 2D and a small 3D network against the equations, on the authors' names; sizes near the paper's",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        img_size: int | Sequence[int] = 224,
        patch_size: int | Sequence[int] = 8,
        dim: int = 384,
        depth: int = 24,
        orders: Sequence[str] | None = None,
        halve_after: Sequence[int] = (),
        residual: str = "plain",
        norms: str = "both",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        drop_path_rate: float = 0.0,
        features_only: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("residual", residual, ("plain", "normed"))
        check_choice("norms", norms, ("both", "none"))
        check_positive(in_channels=in_channels, dim=dim, depth=depth)
        if num_classes < 0:
            raise ValueError(f"num_classes is {num_classes}: give the number of classes, or 0 for features")
        if any(not 0 <= layer < depth - 1 for layer in halve_after):
            raise ValueError(f"halve_after is {list(halve_after)}: name layers from 0 to {depth - 2}, the last but one")
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate is {drop_path_rate}: give a chance of at least 0 and less than 1")
        self.spatial_dims, self.in_channels, self.features_only = spatial_dims, in_channels, features_only
        self.residual = residual
        self.patch_embed = PatchTokens(spatial_dims, in_channels, dim, img_size, patch_size)
        taken = tuple(orders) if orders else ORDERS[spatial_dims]
        core: dict[str, Any] = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        self.mixers = nn.ModuleList(
            SequenceMixer(dim, spatial_dims, taken[i % len(taken)], **core) for i in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        rates = torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        self.drop_paths = nn.ModuleList(DropPath(rate) for rate in rates)
        self.merges = nn.ModuleDict(
            {str(layer): PatchMerging(spatial_dims, dim, out_channels=dim) for layer in halve_after}
        )
        both = norms == "both"
        self.norm: nn.Module = nn.LayerNorm(dim, eps=1e-6) if both else nn.Identity()
        self.pooled_norm: nn.Module = nn.LayerNorm(dim, eps=1e-6) if both and not features_only else nn.Identity()
        has_head = num_classes > 0 and not features_only
        self.head: nn.Module = nn.Linear(dim, num_classes) if has_head else nn.Identity()

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_input(x, self.spatial_dims, self.in_channels)
        x, maps = self.patch_embed(x), []
        for i, (mixer, norm, drop_path) in enumerate(zip(self.mixers, self.norms, self.drop_paths, strict=True)):
            normed = norm(x)
            x = saturate((x if self.residual == "plain" else normed) + drop_path(mixer(normed)))
            if str(i) in self.merges:
                maps.append(x)
                x = saturate(self.merges[str(i)](x))
        last = self.norm(x)
        if self.features_only:
            return [grid.movedim(-1, 1) for grid in (*maps, last)]
        return saturate(in_float32(self.head, self.pooled_norm(last.flatten(1, -2).mean(1))))
