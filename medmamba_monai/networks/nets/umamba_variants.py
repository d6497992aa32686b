"""The published sizes of U-Mamba: those of the public code, and those of the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Variant(NamedTuple):
    """Constructor arguments of a published network and its number of parameters."""

    arguments: Mapping[str, Any]
    parameters: int


def released_block_counts(stages: int, blocks: int = 2) -> tuple[list[int], list[int]]:
    """Blocks of the encoder and decoder stages as the authors' code sets them: one in the deeper half.

    Example:
        >>> released_block_counts(6)
        ([2, 2, 2, 1, 1, 1], [2, 2, 2, 1, 1])
    """
    first_single = math.ceil(stages / 2)
    first_single_up = math.ceil((stages - 1) / 2 + 0.5)
    encoder = [blocks if s < first_single else 1 for s in range(stages)]
    return encoder, [blocks if s < first_single_up else 1 for s in range(stages - 1)]


def _features(stages: int, largest: int) -> list[int]:
    return [min(32 * 2**s, largest) for s in range(stages)]


def _released_2d(variant: str, stages: int, img_size: list[int], channels: int, classes: int) -> dict[str, Any]:
    encoder, decoder = released_block_counts(stages)
    arguments = {
        "spatial_dims": 2,
        "in_channels": channels,
        "out_channels": classes,
        "features": _features(stages, 512),
        "n_blocks": encoder,
        "n_decoder_blocks": decoder,
        "variant": variant,
        "top_skip": False,
    }
    if variant == "encoder":
        places = list(range(1 - stages % 2, stages, 2))
        arguments |= {"mamba_stages": places, "channel_tokens": True, "img_size": img_size}
    return arguments


def _released_3d(variant: str) -> dict[str, Any]:
    encoder, decoder = released_block_counts(6)
    arguments = {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "features": _features(6, 320),
        "n_blocks": encoder,
        "n_decoder_blocks": decoder,
        "variant": variant,
    }
    if variant == "encoder":
        arguments |= {"channel_tokens": True, "img_size": [128, 128, 128]}
    return arguments


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "bottleneck_2d_abdomen": Variant(_released_2d("bottleneck", 7, [320, 320], 1, 14), 47_533_012),
        "bottleneck_2d_endoscopy": Variant(_released_2d("bottleneck", 7, [384, 640], 3, 8), 47_524_592),
        "bottleneck_2d_microscopy": Variant(_released_2d("bottleneck", 8, [512, 512], 3, 3), 64_797_301),
        "encoder_2d_abdomen": Variant(_released_2d("encoder", 7, [320, 320], 1, 14), 47_015_538),
        "encoder_2d_endoscopy": Variant(_released_2d("encoder", 7, [384, 640], 3, 8), 47_680_592),
        "encoder_2d_microscopy": Variant(_released_2d("encoder", 8, [512, 512], 3, 3), 64_014_261),
        "bottleneck_3d": Variant(_released_3d("bottleneck"), 42_120_394),
        "encoder_3d": Variant(_released_3d("encoder"), 42_750_922),
    }
)
