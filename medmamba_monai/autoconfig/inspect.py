"""Reads every case once: faults in plain words, and what only all voxels together can tell."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmamba_monai.autoconfig.cases import Case, DataFault, DataFolder

__all__ = ["Inspected", "inspect_data"]

SAMPLES = 10_000_000  # foreground voxels of a channel that are kept in all
SHOWN = 30
Array = NDArray[Any]


@dataclass(frozen=True)
class Inspected:
    """What was found in the voxels.

    Args:
        channels: channels of an image.
        spatial_dims: 2 or 3.
        cropped: shape of each case without its zero border, volumes turned to RAS.
        values: the numbers in the labels of all cases.
        foreground: mean, std and percentiles of each channel inside the labels of all training cases together.
    """

    channels: int
    spatial_dims: int
    cropped: dict[str, tuple[int, ...]]
    values: tuple[int, ...]
    foreground: tuple[dict[str, float], ...]


def inspect_data(data: DataFolder) -> Inspected:
    """Read every case of a data folder and refuse it with a list of its faults.

    Args:
        data: the folder.

    Raises:
        DataFault: all faults, a line each.
    """
    faults: list[str] = []
    found: list[_Seen] = []
    most = max(1, SAMPLES // len(data.cases))
    for case in data.cases:
        try:
            found.append(_look(case, data, most))
        except DataFault as fault:
            faults += str(fault).splitlines()
    faults += _differences(found)
    values = sorted(set().union(*(seen.values for seen in found))) if found else []
    faults += _unknown_values(found, data, values)
    if faults:
        more = f"\n... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        head = f"the data in {data.root} have {len(faults)} fault{'s' if len(faults) > 1 else ''}:"
        raise DataFault("\n".join([head, *(f"- {fault}" for fault in faults[:SHOWN])]) + more)
    channels = max(seen.channels for seen in found)
    learned = [seen for seen in found if not seen.case.test]
    samples = [[seen.sample[min(channel, seen.channels - 1)] for seen in learned] for channel in range(channels)]
    shapes = {seen.case.name: seen.cropped for seen in found}
    statistics = tuple(_statistics(parts) for parts in samples)
    return Inspected(channels, 2 if data.pictures else 3, shapes, tuple(values), statistics)


@dataclass(frozen=True)
class _Seen:
    case: Case
    channels: int
    cropped: tuple[int, ...]
    values: set[int]
    sample: Array


def _read(path: Path) -> tuple[Array, Array]:
    """Image (C, *S) and affine, volumes turned to RAS."""
    from monai.transforms import LoadImage, Orientation

    if not path.is_file():
        raise DataFault(f"{path} does not exist: restore it")
    try:
        image: Any = LoadImage(image_only=True, ensure_channel_first=True)(str(path))
        if image.ndim == 4:
            image = Orientation(axcodes="RAS", labels=None)(image)
    except Exception as error:  # readers raise anything from EOFError to ImageFileError
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:100]
        raise DataFault(f"{path} cannot be read as an image ({reason}): export it again") from None
    return np.asarray(image), np.asarray(image.affine, float)


def _look(case: Case, data: DataFolder, most: int) -> _Seen:
    if case.label is None:
        raise DataFault(f"case {case.name}: the label is missing: add it, or remove the image")
    parts = [_read(path) for path in case.images]
    label, label_affine = _read(case.label)
    shapes = {part.shape[1:] for part, _ in parts}
    faults = []
    if len(shapes) > 1:
        faults.append(f"case {case.name}: its channel files have the shapes {sorted(shapes)}: export them on one grid")
    elif label.shape[1:] != parts[0][0].shape[1:]:
        faults.append(
            f"case {case.name}: the label has shape {label.shape[1:]}, the image {parts[0][0].shape[1:]}: "
            "export both on one grid"
        )
    if faults:
        raise DataFault("\n".join(faults))
    image = np.concatenate([part for part, _ in parts])
    if data.pictures and image.shape[0] in (2, 4):
        image = image[:-1]
    for affine in (*(affine for _, affine in parts[1:]), label_affine):
        if not data.pictures and not np.allclose(affine, parts[0][1], atol=1e-2):
            faults.append(f"case {case.name}: label or channel has another affine than the image: resample it to it")
            break
    faults += _voxel_faults(case, image, label, data.pictures)
    if faults:
        raise DataFault("\n".join(faults))
    numbers = label[0].astype(np.int64)
    inside = image[:, numbers > 0]
    if inside.shape[1]:
        # as many of every case, whatever its size; the same ones at every call
        draw = np.random.RandomState(zlib.crc32(case.name.encode())).randint(0, inside.shape[1], most)
        inside = inside[:, draw] if inside.shape[1] > most else inside
    return _Seen(case, image.shape[0], _without_border(image), set(np.unique(numbers).tolist()), inside)


def _voxel_faults(case: Case, image: Array, label: Array, pictures: bool) -> list[str]:
    faults = []
    if not pictures and (image.ndim != 4 or min(image.shape[1:]) < 2):
        faults.append(
            f"case {case.name}: shape {image.shape[1:]} is a single slice, no volume: join the slices of a volume, "
            "or save pictures as PNG or TIFF"
        )
    if not np.isfinite(image).all():
        faults.append(f"case {case.name}: the image holds NaN or infinite voxels: replace them")
    faults += [
        f"case {case.name}: channel {channel} is constant ({part.flat[0]:g} everywhere): export the image again"
        for channel, part in enumerate(image)
        if part.min() == part.max()
    ]
    if label.shape[0] != 1:
        faults.append(f"case {case.name}: the label has {label.shape[0]} channels: save one channel of class numbers")
    elif not np.isfinite(label).all() or (label != np.round(label)).any() or label.min() < 0:
        faults.append(f"case {case.name}: the label holds numbers that are no classes: save whole numbers from 0")
    return faults


def _differences(found: Sequence[_Seen]) -> list[str]:
    if not found:
        return []
    counts = [seen.channels for seen in found]
    usual = max(sorted(set(counts)), key=counts.count)
    if {1, 3} == set(counts):  # grey pictures among coloured ones get three channels when they are read
        return []
    return [
        f"case {seen.case.name}: {seen.channels} channels, but most cases have {usual}: give all the same"
        for seen in found
        if seen.channels != usual
    ]


def _unknown_values(found: Sequence[_Seen], data: DataFolder, values: Sequence[int]) -> list[str]:
    if not found:
        return []
    if data.labels is None:
        return [] if any(values) else ["every label is empty: nothing can be learned"]
    known = set(data.labels.values())
    faults = [
        f"case {seen.case.name}: the label holds {sorted(seen.values - known)}, but the classes are {sorted(known)}: "
        "correct the label, or declare the class"
        for seen in found
        if seen.values - known
    ]
    lost = sorted(name for name, value in data.labels.items() if value not in values and value != 0)
    faults += [f"class {name!r} is in no label: remove it from the classes, or add cases that show it" for name in lost]
    if sorted(known) != list(range(len(known))):
        faults.append(f"the class numbers are {sorted(known)}: number them 0, 1, 2, ... without a gap")
    return faults


def _without_border(image: Array) -> tuple[int, ...]:
    inside = (image != 0).any(0)
    shape = []
    for axis in range(inside.ndim):
        line = inside.any(tuple(i for i in range(inside.ndim) if i != axis)).nonzero()[0]
        shape.append(int(line[-1] - line[0] + 1))
    return tuple(shape)


def _statistics(samples: Sequence[Array]) -> dict[str, float]:
    values = np.concatenate(samples).astype(np.float64)
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    numbers = {"mean": values.mean(), "std": values.std(), "median": middle, "min": values.min(), "max": values.max()}
    numbers |= {"percentile_00_5": low, "percentile_99_5": high}
    return {key: float(f"{value:.6g}") for key, value in numbers.items()}
