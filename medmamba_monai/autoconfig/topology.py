"""Where a U-Net pools each axis, and how many numbers or multiplications a pass through it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Topology", "feature_widths", "map_voxels", "multiplications", "topology"]

SMALLEST_MAP = 4  # voxels along an axis at the bottleneck
NEAR = 2  # axes whose voxels differ by less than this factor are treated alike


@dataclass(frozen=True)
class Topology:
    """Strides and kernels of each stage, and the patch that they fit.

    Args:
        patch_size: the size asked for, rounded up to whole multiples.
        strides: one tuple a stage, from full resolution down.
        kernel_sizes: one tuple a stage.
        multiples: by what each axis of the patch is divisible.
    """

    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    multiples: tuple[int, ...]


def topology(spacing: Sequence[float], size: Sequence[float]) -> Topology:
    """Plan pooling and kernels axis by axis, as nnU-Net does (doi 10.1038/s41592-020-01008-z, supplement).

    An axis is halved as long as its map keeps 4 voxels and its voxels are less than twice the finest; a kernel grows
    from 1 to 3 along an axis once the voxels there are less than twice the finest.

    Args:
        spacing: length of a voxel along each axis.
        size: voxels of the patch along each axis; a median, so perhaps no whole number.

    Example:
        >>> topology([5.0, 1.0, 1.0], [10, 64, 64]).strides
        ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2))
    """
    axes = range(len(size))
    voxel, left, pools, kernel = list(spacing), list(size), [0] * len(size), [1] * len(size)
    strides, kernels = [(1,) * len(size)], []
    while True:
        long = [axis for axis in axes if left[axis] >= 2 * SMALLEST_MAP]
        finest = min((voxel[axis] for axis in long), default=0)
        chosen = [axis for axis in long if voxel[axis] / finest < NEAR]
        # a single axis is not worth a stage when little is left of it
        if not chosen or (len(chosen) == 1 and left[chosen[0]] < 3 * SMALLEST_MAP):
            break
        for axis in axes:
            if voxel[axis] / min(voxel) < NEAR:
                kernel[axis] = 3
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in chosen else 1 for axis in axes))
        for axis in chosen:
            pools[axis] += 1
            voxel[axis] *= 2
            left[axis] = math.ceil(left[axis] / 2)
    kernels.append((3,) * len(size))
    multiples = tuple(2**count for count in pools)
    patch = tuple(math.ceil(length / by) * by for length, by in zip(size, multiples, strict=True))
    return Topology(patch, tuple(strides), tuple(kernels), multiples)


def feature_widths(stages: int, spatial_dims: int, base: int = 32) -> tuple[int, ...]:
    """Channels of each stage: doubled from stage to stage up to nnU-Net's limits, 512 in 2D and 320 in 3D.

    Example:
        >>> feature_widths(6, 3)
        (32, 64, 128, 256, 320, 320)
    """
    largest = 512 if spatial_dims == 2 else 320
    return tuple(min(base * 2**stage, largest) for stage in range(stages))


def _sizes(plan: Topology) -> list[tuple[int, ...]]:
    """Size of the map at each stage."""
    sizes, size = [], plan.patch_size
    for stride in plan.strides:
        size = tuple(n // k for n, k in zip(size, stride, strict=True))
        sizes.append(size)
    return sizes


def map_voxels(plan: Topology, features: Sequence[int], classes: int) -> int:
    """Numbers in all maps that convolutions of nnU-Net's plain U-Net write: its measure of memory.

    Two convolutions a stage on each side, a transposed convolution a step up, and the output.

    Args:
        plan: strides and patch.
        features: channels of each stage.
        classes: output channels.

    Example:
        >>> map_voxels(topology([1, 1], [8, 8]), (2, 4), 3)
        960
    """
    voxels = [math.prod(size) for size in _sizes(plan)]
    every = [width * count for width, count in zip(features, voxels, strict=True)]
    return 2 * sum(every) + 3 * sum(every[:-1]) + classes * voxels[0]


def multiplications(
    plan: Topology,
    features: Sequence[int],
    n_blocks: Sequence[int],
    n_decoder_blocks: Sequence[int],
    in_channels: int,
    classes: int,
) -> int:
    """Multiplications of the convolutions in one pass of one patch through a residual U-Net: its measure of time.

    Args:
        plan: strides, kernels and patch.
        features: channels of each stage.
        n_blocks: residual blocks of each encoder stage, two convolutions each.
        n_decoder_blocks: the same of each decoder stage, from the lowest resolution up.
        in_channels: channels of the image.
        classes: output channels.
    """
    voxels = [math.prod(size) for size in _sizes(plan)]
    taps = [math.prod(kernel) for kernel in plan.kernel_sizes]
    total = voxels[0] * taps[0] * in_channels * features[0] + voxels[0] * features[0] * classes
    for stage, (width, blocks) in enumerate(zip(features, n_blocks, strict=True)):
        before = features[max(stage - 1, 0)]
        inner = (2 * blocks - 1) * taps[stage] * width * width
        total += voxels[stage] * (taps[stage] * before * width + before * width + inner)
    for blocks, stage in zip(n_decoder_blocks, range(len(features) - 2, -1, -1), strict=True):
        width = features[stage]
        inner = (2 * blocks - 1) * taps[stage] * width * width
        joined = 2 * taps[stage] * width * width + 2 * width * width
        total += voxels[stage] * (features[stage + 1] * width + joined + inner)
    return total
