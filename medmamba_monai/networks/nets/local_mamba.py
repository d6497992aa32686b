"""LocalMamba, hierarchical and plain: each block scans along four paths chosen for it, some of them inside windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import nn

from medmamba_monai.networks.blocks.vss import VSSEncoder, init_linear
from medmamba_monai.networks.nets.classifier import PyramidClassifier
from medmamba_monai.networks.nets.variant import Source, Variant
from medmamba_monai.networks.nets.vim import Vim

# What the search of the paper chose, a block a word: h rows, v columns, 2 and 7 windows of that side; capitals and
# letters behind them (a for 2, b for 7) are read backwards.
_TINY = "hH7b HV2a HVa7 HvV2 hHVa HV2a ha7b hHvV hV7b Hv2b vV2b hHVa Va7b HVab Hv7b"
_SMALL = (
    "hvVb hHv7 HvV7 Hva7 Hva7 HV2b HvV7 hvV7 hvV7 hvVb hHvV hvV2 vVa7 hHv2 HvVb hHvV hvVb hvVb hHV7 HVa7 HvVb vV7b "
    "hvVb HvV2 hvVa hHv7 hH7b hV2a hV27 hvVb Hva7 HV7b hv7b"
)
_PLAIN = "hV7b Ha7b hHv7 hHvV hHvV hHvV HvV7 HvVa hHvV hHvV hvV2 hvVa hHV7 HvV2 hHvV hv2a vV27 hHv2 hHa7 vV2a"
_PATHS = MappingProxyType(
    {
        "h": "hw",
        "H": "-hw",
        "v": "wh",
        "V": "-wh",
        "2": "windows:2",
        "a": "-windows:2",
        "7": "windows:7",
        "b": "-windows:7",
    }
)


def searched(words: str) -> list[str]:
    """Scan orders of the blocks, in the notation of this file.

    Example:
        >>> searched("hb")
        ['hw+-windows:7']
    """
    return ["+".join(_PATHS[letter] for letter in word) for word in words.split()]


class LocalVMamba(PyramidClassifier):
    """Classify 2D images or 3D volumes, or give a pyramid of features to another network.

    LocalMamba (arXiv 2403.09338), sections 3.2 to 3.4: VMamba's first form whose blocks read other paths each, some
    window after window, and weigh the channels of each path's result before they add them.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        depths: blocks of each stage.
        dims: channels of each stage, each twice the one before.
        patch_size: side of a patch.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`, or a list that blocks take in turn.
        d_state: numbers in the state of each channel.
        expand: inner width of the mixer over its channels.
        drop_path_rate: chance to drop a branch in the last block; it grows linearly from 0 over the blocks.
        features_only: return the stages' maps; there is no head then.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, num_classes), or with ``features_only`` a list of maps
        (B, dims[i], *S_i), the highest resolution first.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = LocalVMamba(2, 1, 3, depths=[1, 1], dims=[8, 16], order="local:2")
        >>> net(torch.zeros(2, 1, 28, 30)).shape
        torch.Size([2, 3])

    Notes:
        The published sizes read the paths that the paper's search chose. The authors' code puts columns back by an
        inverse that holds on square grids only; here by the right one. Their network of the search itself, which scans
        along all eight paths, is not built.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": Variant({"depths": [2, 2, 9, 2], "order": searched(_TINY)}, 25_527_160),
            "small": Variant({"depths": [2, 2, 27, 2], "order": searched(_SMALL)}, 49_748_536),
        }
    )
    source: ClassVar[Source] = Source(
        "LocalMamba: Visual State Space Model with Windowed Selective Scan (arXiv 2403.09338)",
        "https://github.com/hunto/LocalMamba @ 0284994",
        "Apache-2.0",
        "a small network against the equations, on the authors' names; sizes near the paper's",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        depths: Sequence[int] = (2, 2, 9, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        patch_size: int = 4,
        order: str | Sequence[str] = "local:7",
        d_state: int = 16,
        expand: float = 2.0,
        drop_path_rate: float = 0.2,
        features_only: bool = False,
    ) -> None:
        encoder = VSSEncoder(
            spatial_dims,
            in_channels,
            depths,
            dims,
            patch_size,
            drop_path_rate=drop_path_rate,
            order=order,
            scan_merge="attention",
            d_state=d_state,
            expand=expand,
        )
        super().__init__(encoder, nn.LayerNorm(dims[-1]), num_classes, features_only)
        self.head.apply(init_linear)


class LocalVim(Vim):
    """Classify images, or give the map of patch tokens to another network.

    LocalMamba (arXiv 2403.09338), figure 3: Vim with rotated tokens, whose layers read other paths each, some window
    after window, and weigh the channels of each path's result before they add them.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        img_size: size of the training images, a number or one an axis; other sizes work too.
        patch_size: side of a patch.
        dim: channels of a token, divisible by twice the number of axes.
        depth: number of layers.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`, or a list that layers take in turn.
        vim: further arguments of `Vim`: ``stride``, ``positions``, ``norm``, ``d_state``, ``d_conv``, ``expand``,
            ``drop_path_rate``, ``features_only``.

    Shape:
        As `Vim`.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = LocalVim(2, 1, 3, img_size=32, patch_size=8, dim=16, depth=2)
        >>> net(torch.zeros(2, 1, 30, 40)).shape
        torch.Size([2, 3])

    Notes:
        "tiny" and "small_searched" read the paths that the search chose, "tiny_fixed" and "small" rows and windows of
        side 2, both ways, in every layer, as the functions of the authors' code that are called so in the end. The
        code puts columns back by an inverse that holds on square grids only; here by the right one.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": Variant({"dim": 192, "order": searched(_PLAIN)}, 7_994_152),
            "tiny_fixed": Variant({"dim": 192, "order": searched("hH2a")}, 7_994_152),
            "small": Variant({"dim": 384, "order": searched("hH2a")}, 27_783_784),
            "small_searched": Variant({"dim": 384, "order": searched(_PLAIN)}, 27_783_784),
        }
    )
    source: ClassVar[Source] = LocalVMamba.source

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        dim: int = 192,
        depth: int = 20,
        order: str | Sequence[str] = "local:7",
        **vim: Any,
    ) -> None:
        given = {"mixer": "local", "pool": "mean", "rotary": True, "order": order, **vim}
        super().__init__(spatial_dims, in_channels, num_classes, img_size, patch_size, dim=dim, depth=depth, **given)
