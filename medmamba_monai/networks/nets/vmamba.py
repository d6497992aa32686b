"""VMamba: classification and feature pyramids by cross scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from medmamba_monai.networks.blocks.patches import token_norm
from medmamba_monai.networks.blocks.vss import VSSEncoder, init_linear
from medmamba_monai.networks.nets.classifier import PyramidClassifier
from medmamba_monai.networks.nets.variant import Source, Variant

FIRST: Mapping[str, Any] = MappingProxyType({"embed": "patch", "merge": "patch", "mlp_ratio": 0.0})
CURRENT: Mapping[str, Any] = MappingProxyType(
    {
        "embed": "overlap",
        "merge": "conv",
        "mlp_ratio": 4.0,
        "d_state": 1,
        "gate": False,
        "conv_bias": False,
    }
)


def _dims(first: int) -> list[int]:
    return [first * 2**stage for stage in range(4)]


def _first(depth: int, first: int, rate: float, parameters: int) -> Variant:
    return Variant({"depths": [2, 2, depth, 2], "dims": _dims(first), "drop_path_rate": rate, **FIRST}, parameters)


def _current(depths: list[int], first: int, rate: float, expand: float, parameters: int) -> Variant:
    given = {"depths": depths, "dims": _dims(first), "drop_path_rate": rate, "expand": expand, **CURRENT}
    return Variant(given, parameters)


class VMamba(PyramidClassifier):
    """Classify images, or give a pyramid of features to another network.

    VMamba (arXiv 2401.10166), figure 3.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        depths: blocks of each stage.
        dims: channels of each stage, each twice the one before.
        patch_size: side of a patch.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        expand: inner width of the mixer over its channels (the authors' ssm_ratio).
        gate: multiply the scan's result by a second projection (the authors' forms without "_noz").
        conv_bias: give the mixer's convolution a bias.
        embed: "patch" for one convolution without overlap, "overlap" for two of 3x3.
        merge: "patch" to join neighbours between stages, "conv" for a convolution of 3x3 with stride 2.
        mlp_ratio: hidden width of the MLP over the channels; 0 leaves the MLP out.
        gated_mlp: gate the MLP.
        norm: "layer" or "batch".
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
        >>> net = VMamba(2, 1, depths=[1, 1], dims=[8, 16], features_only=True)
        >>> [tuple(y.shape) for y in net(torch.zeros(2, 1, 20, 16))]
        [(2, 8, 5, 4), (2, 16, 3, 2)]

    Notes:
        "vanilla_*" are the sizes of the paper's first version (the block has a gate and no MLP), the others the
        presets of its last. The layout of the authors' code, channels first or last, changes no number; grids here
        have their channels last. With channels first and "patch" merging the authors' code pads the wrong axes of odd
        grids; here the right ones are padded. The authors' modes of the scan are the orders "cross", "unidi", "bidi"
        and "cascade_released"; the last adds what is read backwards without turning it back, "cascade" turns it back.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "vanilla_tiny": _first(9, 96, 0.2, 22_893_448),
            "vanilla_small": _first(27, 96, 0.3, 44_417_416),
            "vanilla_base": _first(27, 128, 0.6, 76_254_056),
            "tiny_s2l5": _current([2, 2, 5, 2], 96, 0.2, 2.0, 30_705_832),
            "small_s2l15": _current([2, 2, 15, 2], 96, 0.3, 2.0, 50_147_752),
            "base_s2l15": _current([2, 2, 15, 2], 128, 0.6, 2.0, 88_557_800),
            "tiny_s1l8": _current([2, 2, 8, 2], 96, 0.2, 1.0, 30_249_064),
            "small_s1l20": _current([2, 2, 20, 2], 96, 0.3, 1.0, 49_012_840),
            "base_s1l20": _current([2, 2, 20, 2], 128, 0.5, 1.0, 86_614_504),
        }
    )
    source: ClassVar[Source] = Source(
        "VMamba: Visual State Space Model (arXiv 2401.10166)",
        "https://github.com/MzeroMiko/VMamba @ 2ed52ea",
        "MIT",
        "outputs and gradients of small networks of six forms; parameter counts of nine sizes",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        depths: Sequence[int] = (2, 2, 9, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        patch_size: int = 4,
        order: str = "cross",
        d_state: int = 16,
        expand: float = 2.0,
        gate: bool = True,
        conv_bias: bool = True,
        embed: str = "patch",
        merge: str = "patch",
        mlp_ratio: float = 0.0,
        gated_mlp: bool = False,
        norm: str = "layer",
        drop_path_rate: float = 0.2,
        features_only: bool = False,
    ) -> None:
        encoder = VSSEncoder(
            spatial_dims,
            in_channels,
            depths,
            dims,
            patch_size,
            embed,
            merge,
            drop_path_rate,
            norm,
            order=order,
            d_state=d_state,
            expand=expand,
            gate=gate,
            conv_bias=conv_bias,
            mlp_ratio=mlp_ratio,
            gated_mlp=gated_mlp,
        )
        super().__init__(encoder, token_norm(norm, dims[-1]), num_classes, features_only)
        self.head.apply(init_linear)
