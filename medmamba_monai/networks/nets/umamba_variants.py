"""The published sizes of U-Mamba: those of the public code, and those of the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from medmamba_monai.networks.nets.variant import Variant


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


def _paper_2d(variant: str, stages: int, channels: int, classes: int) -> dict[str, Any]:
    return {
        "spatial_dims": 2,
        "in_channels": channels,
        "out_channels": classes,
        "features": _features(stages, 512),
        "variant": variant,
        "design": "paper",
    }


def _paper_3d(variant: str) -> dict[str, Any]:
    # the plan of the abdomen CT data: thick slices, so the first and the last step leave the depth as it is
    return {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 14,
        "features": _features(6, 320),
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
        "variant": variant,
        "design": "paper",
    }


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
        "paper_bottleneck_2d_abdomen": Variant(_paper_2d("bottleneck", 7, 1, 14), 63_344_180),
        "paper_bottleneck_2d_microscopy": Variant(_paper_2d("bottleneck", 8, 3, 3), 86_150_037),
        "paper_encoder_2d_abdomen": Variant(_paper_2d("encoder", 7, 1, 14), 67_333_428),
        "paper_encoder_2d_microscopy": Variant(_paper_2d("encoder", 8, 3, 3), 91_835_029),
        "paper_bottleneck_3d_abdomen": Variant(_paper_3d("bottleneck"), 57_832_166),
        "paper_encoder_3d_abdomen": Variant(_paper_3d("encoder"), 59_105_766),
    }
)
