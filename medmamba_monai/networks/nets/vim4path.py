"""Vim4Path: Vim as the encoder of tiles of slides, with positions for tiles of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.blocks.arguments import check_choice
from medmamba_monai.networks.nets.variant import Source, Variant
from medmamba_monai.networks.nets.vim import Vim


class Vim4Path(Vim):
    """Turn tiles of a slide into features, for a network of bags such as `MambaMIL`, or classify them.

    Vim4Path (arXiv 2404.13222), figure 1.

    Args:
        spatial_dims: 2.
        in_channels: channels of a tile.
        num_classes: 0 for features, or the number of classes.
        img_size: size of the training tiles, a number or one an axis; other sizes work too.
        patch_size: side of a patch.
        dim: channels of a token, and the number of features.
        depth: number of layers.
        design: "paper" for one class token in the middle of the sequence; "released" for the authors' code, which
            also has it in front, so that it is read twice, with its position there only.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        drop_path_rate: chance to drop the last layer's branch; it grows linearly from 0 over the layers.

    Shape:
        x (B, in_channels, H, W) of any size: it is padded with zeros to whole patches. Returns (B, dim), or
        (B, num_classes).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = Vim4Path(2, 3, img_size=32, patch_size=8, dim=16, depth=2)
        >>> net(torch.zeros(2, 3, 30, 40)).shape
        torch.Size([2, 16])

    Notes:
        The learned positions, the class token's first, are interpolated cubically where the tile is another. The
        released code scales them by a factor a little above the ratio of the sizes, and so does that design.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": Variant({}, 6_955_008),
            "tiny_plus": Variant({"dim": 384, "depth": 12}, 12_891_648),
            "small": Variant({"dim": 384}, 25_411_584),
        }
    )
    source: ClassVar[Source] = Source(
        "Vim4Path: Self-Supervised Vision Mamba for Histopathology Images (arXiv 2404.13222)",
        "https://github.com/AtlasAnalyticsLab/Vim4Path @ 553ba2c",
        "MIT",
        "its layers as those of Vim; tokens and positions of both designs by their equations; the authors' code was "
        "read, not run",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 0,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        dim: int = 192,
        depth: int = 24,
        design: str = "paper",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        drop_path_rate: float = 0.1,
    ) -> None:
        check_choice("spatial_dims", spatial_dims, (2,))
        check_choice("design", design, ("paper", "released"))
        super().__init__(
            spatial_dims,
            in_channels,
            num_classes,
            img_size,
            patch_size,
            dim=dim,
            depth=depth,
            d_state=d_state,
            d_conv=d_conv,
            expand=expand,
            drop_path_rate=drop_path_rate,
        )
        self.released = design == "released"

    def _with_positions(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        assert self.pos_embed is not None and self.cls_token is not None
        own_place, places = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        tokens = tokens + self._resized(places, grid)
        own = self.cls_token.expand(len(tokens), -1, -1)
        if self.released:
            tokens = torch.cat((own + own_place, tokens), 1)
        else:
            own = own + own_place
        middle = tokens.shape[1] // 2
        return torch.cat((tokens[:, :middle], own, tokens[:, middle:]), 1)

    def _resized(self, places: Tensor, grid: Sequence[int]) -> Tensor:
        table = places.transpose(1, 2).unflatten(2, self.grid)
        table = table.float() if table.element_size() < 4 else table
        if not self.released:
            resized = F.interpolate(table, size=tuple(grid), mode="bicubic")
        elif tuple(grid) == self.grid:
            resized = table
        else:
            scale = tuple((new + 0.1) / old for new, old in zip(grid, self.grid, strict=True))
            resized = F.interpolate(table, scale_factor=scale, mode="bicubic")
        return resized.flatten(2).transpose(1, 2)
