"""nnU-Net's rules for spacing, patch, batch and low-resolution stage, from numbers alone.

Axes stand in nnU-Net's order here (slices, rows, columns; then the axis of the largest voxels first): a tie between
two axes is decided by their order, so the same order gives the same plan. The rules are those of nnU-Net v2 (doi
10.1038/s41592-020-01008-z and its public code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medmamba_monai.autoconfig.budget import Budget
from medmamba_monai.autoconfig.topology import Topology, feature_widths, map_voxels, multiplications, topology

__all__ = ["Configuration", "Data", "configure", "low_resolution", "resampled_shape", "target_spacing"]

ANISOTROPY = 3
MAP_VOXELS = {2: 85_000_000, 3: 560_000_000}  # numbers in nnU-Net's maps that fill 8 GB, at the batch sizes below
MAP_GB = 8
MAP_BATCH = {2: 12, 3: 2}
SMALLEST_BATCH = 2
SEEN_AT_ONCE = 0.05  # largest share of all training voxels in one batch
COVERED = 0.25  # share of the median image below which a low-resolution stage pays
FIRST_PATCH = {2: 2048**2, 3: 256**3}
CPU_WIDTHS = (32, 24, 16, 12, 8)
CPU_LARGEST_BATCH = 12


@dataclass(frozen=True)
class Data:
    """What the rules need to know of the data.

    Args:
        cases: training cases.
        channels: channels of an image.
        classes: classes with the background.
        budget: what training may cost.
    """

    cases: int
    channels: int
    classes: int
    budget: Budget


@dataclass(frozen=True)
class Configuration:
    """Patch, batch and network for one spacing; every list in the order of the given axes."""

    spacing: tuple[float, ...]
    median_shape: tuple[float, ...]
    patch_size: tuple[int, ...]
    batch_size: int
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    n_blocks: tuple[int, ...]
    n_decoder_blocks: tuple[int, ...]
    cost: int = field(compare=False, default=0)


def target_spacing(spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """The spacing that all images are resampled to: the median, finer along a thick axis of few slices.

    Args:
        spacings: one a case.
        shapes: one a case, after cropping.

    Example:
        >>> target_spacing([[10.0, 1.0, 1.0], [5.0, 1.0, 1.0]], [[8, 90, 90], [16, 90, 90]])
        (5.5, 1.0, 1.0)
    """
    voxels = np.asarray(spacings, float)
    target, size = np.percentile(voxels, 50, 0), np.percentile(np.asarray(shapes, float), 50, 0)
    thick = int(np.argmax(target))
    others = [axis for axis in range(len(target)) if axis != thick]
    fine = max(target[axis] for axis in others)
    few = size[thick] * ANISOTROPY < min(size[axis] for axis in others)
    if target[thick] > ANISOTROPY * fine and few:
        chosen = float(np.percentile(voxels[:, thick], 10))
        # never finer than the other axes
        target[thick] = max(fine, chosen) + 1e-5 if chosen < fine else chosen
    return tuple(float(length) for length in target)


def resampled_shape(shape: Sequence[float], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """Voxels along each axis after resampling.

    Example:
        >>> resampled_shape([10, 30], [2.0, 1.0], [1.0, 1.0])
        (20, 30)
    """
    return tuple(round(length / to * count) for count, length, to in zip(shape, spacing, target, strict=True))


def configure(
    spacing: Sequence[float], median: Sequence[float], voxels: float, data: Data, fixed: dict[str, Any] | None = None
) -> Configuration:
    """Patch, batch and network at one spacing, within the budget.

    Args:
        spacing: spacing after resampling.
        median: median shape after resampling.
        voxels: voxels of the whole training set, about.
        data: what is known of the data.
        fixed: values that are given instead of planned: patch_size, batch_size, features, strides, kernel_sizes,
            n_blocks, n_decoder_blocks.
    """
    given = fixed or {}
    if not data.budget.on_cpu or "features" in given:
        return _fit(spacing, median, voxels, data, 32, given)
    tried = [_fit(spacing, median, voxels, data, base, given) for base in CPU_WIDTHS]
    whole = [plan for plan in tried if math.prod(plan.patch_size) >= COVERED * math.prod(median)]
    # a view of a quarter of the image is worth more than width
    return whole[0] if whole else tried[-1]


def _fit(
    spacing: Sequence[float], median: Sequence[float], voxels: float, data: Data, base: int, given: dict[str, Any]
) -> Configuration:
    dims = len(spacing)
    size = given.get("patch_size") or _first_patch(spacing, median)
    shape = _network(topology(spacing, size), dims, base, data, spacing, median, given)
    while "patch_size" not in given and not _affordable(shape, data):
        smaller = _reduced(shape, median)
        if smaller is None:
            break
        shape = _network(smaller, dims, base, data, spacing, median, given)
    return replace(shape, batch_size=given.get("batch_size") or _batch(shape, voxels, data))


def _first_patch(spacing: Sequence[float], median: Sequence[float]) -> list[float]:
    """The largest patch thought of: of the median image's proportions in millimetres, and no larger than it."""
    inverse = 1 / np.asarray(spacing, float)
    wanted = inverse * (FIRST_PATCH[len(spacing)] / np.prod(inverse)) ** (1 / len(spacing))
    return [min(round(length), most) for length, most in zip(wanted, median, strict=True)]


def _network(
    plan: Topology,
    dims: int,
    base: int,
    data: Data,
    spacing: Sequence[float],
    median: Sequence[float],
    given: dict[str, Any],
) -> Configuration:
    strides = _rows(given.get("strides")) or plan.strides
    kernels = _rows(given.get("kernel_sizes")) or plan.kernel_sizes
    stages = len(strides)
    features = tuple(given.get("features") or feature_widths(stages, dims, base))
    # on a CPU the costly stages of full and half resolution get one block
    slim = data.budget.on_cpu
    blocks = tuple(given.get("n_blocks") or (1 if slim and stage < 2 else 2 for stage in range(stages)))
    up = tuple(given.get("n_decoder_blocks") or (1 if slim else 2,) * (stages - 1))
    for name, value, count in (
        ("kernel_sizes", kernels, stages),
        ("features", features, stages),
        ("n_blocks", blocks, stages),
        ("n_decoder_blocks", up, stages - 1),
    ):
        if len(value) != count:
            raise ValueError(f"{name} has {len(value)} entries, but {stages} stages need {count}: set all of them")
    plan = replace(plan, strides=strides, kernel_sizes=kernels)
    if data.budget.on_cpu:
        cost = multiplications(plan, features, blocks, up, data.channels, data.classes)
    else:
        cost = map_voxels(plan, features, data.classes)
    return Configuration(
        tuple(spacing), tuple(median), plan.patch_size, SMALLEST_BATCH, features, strides, kernels, blocks, up, cost
    )


def _rows(value: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in value or ())


def _memory(data: Data, dims: int) -> float:
    return MAP_VOXELS[dims] * data.budget.gpu_gb / MAP_GB


def _affordable(plan: Configuration, data: Data) -> bool:
    if data.budget.on_cpu:
        return data.budget.seconds(plan.cost, SMALLEST_BATCH) <= data.budget.step_limit
    dims = len(plan.spacing)
    # the reference holds at its own batch size; at least two patches are wanted
    return plan.cost / MAP_BATCH[dims] * SMALLEST_BATCH <= _memory(data, dims)


def _reduced(plan: Configuration, median: Sequence[float]) -> Topology | None:
    """The next smaller patch: the axis that covers most of the image loses one multiple. None at the end."""
    patch = list(plan.patch_size)
    shares = [length / most for length, most in zip(patch, median, strict=True)]
    axis = max(range(len(patch)), key=lambda i: (shares[i], i))
    pooled = topology(plan.spacing, patch).multiples
    tried = [length - (pooled[axis] if i == axis else 0) for i, length in enumerate(patch)]
    if tried[axis] < 1:
        return None
    # fewer pools may fit the smaller patch, which then allows a smaller step
    patch[axis] -= topology(plan.spacing, tried).multiples[axis]
    found = topology(plan.spacing, patch)
    return None if len(found.strides) < 2 or found.patch_size == plan.patch_size else found


def _batch(plan: Configuration, voxels: float, data: Data) -> int:
    dims = len(plan.spacing)
    if data.budget.on_cpu:
        fits = int(data.budget.step_limit / data.budget.seconds(plan.cost, 1))
        fits = min(fits, CPU_LARGEST_BATCH)
    else:
        fits = round(_memory(data, dims) / plan.cost * MAP_BATCH[dims])
    share = round(voxels * SEEN_AT_ONCE / math.prod(plan.patch_size))
    return max(min(fits, share), SMALLEST_BATCH)


def low_resolution(full: Configuration, data: Data) -> Configuration | None:
    """A coarser configuration whose patch covers a quarter of the image; None where it would bring too little.

    Args:
        full: the configuration at the target spacing.
        data: what is known of the data.
    """
    sizes = np.asarray(full.median_shape, float)
    whole = float(np.prod(sizes))
    fine = np.asarray(full.spacing, float)
    spacing, found, seen = fine.copy(), None, math.prod(full.patch_size)
    voxels = whole
    while seen / voxels < COVERED:
        behind = spacing.max() / spacing > 2
        spacing[behind if behind.any() else slice(None)] *= 1.03
        shape = fine / spacing * sizes
        voxels = float(np.prod(shape))
        found = configure(spacing.tolist(), [round(length) for length in shape], voxels * data.cases, data)
        seen = math.prod(found.patch_size)
    return None if found is None or whole / voxels < 2 else found
