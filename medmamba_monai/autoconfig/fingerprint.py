"""The fingerprint of a data set: what the plan depends on, and what a reader wants to see of the data."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from medmamba_monai.autoconfig.cases import Case, DataFault, DataFolder
from medmamba_monai.autoconfig.inspect import Inspected, inspect_data

__all__ = ["fingerprint"]

MOST_CLASSES = 64  # more numbers than this in undeclared labels are objects, not classes
Record = dict[str, Any]


def fingerprint(data: DataFolder) -> Record:
    """Check and measure a data folder; plain values, the same at every call.

    MONAI's DataAnalyzer gives shapes, spacings and the share of each class; the crop to what is not zero and the
    intensities of all foreground together are measured here. Cases of a test list are checked, not measured.

    Args:
        data: the folder.

    Raises:
        DataFault: faults in the data, all of them in one message.
    """
    found = inspect_data(data)
    learned = [case for case in data.cases if not case.test]
    groups = sorted({case.group for case in learned})
    if len(groups) < 2:
        raise DataFault(f"{data.root} has {len(groups)} group of training cases: training and validation need two")
    labels, values = _classes(data, found)
    analysed = _analyse(learned, found.spatial_dims)
    by_case = [_case(case, stats, found) for case, stats in zip(learned, analysed, strict=True)]
    return {
        "name": data.name,
        "layout": data.layout,
        "spatial_dims": found.spatial_dims,
        "pictures": data.pictures,
        "files_per_case": len(learned[0].images),
        "training_cases": len(learned),
        "test_cases": len(data.cases) - len(learned),
        "groups": len(groups),
        "channels": _channel_names(data, found),
        "labels": labels,
        "label_values": values,
        "spacing": _range([case["spacing"] for case in by_case]),
        "shape": _range([case["shape"] for case in by_case]),
        "shape_cropped": _range([case["cropped"] for case in by_case]),
        "share_after_crop": _rounded(np.median([np.prod(c["cropped"]) / np.prod(c["shape"]) for c in by_case])),
        "foreground": list(found.foreground),
        "class_sizes": _sizes(labels, values, analysed),
        "by_case": by_case,
    }


def _classes(data: DataFolder, found: Inspected) -> tuple[dict[str, int], list[int]]:
    """Class numbers by name, and the numbers in the files that become 0, 1, 2, ...; one number: all above 0 is 1."""
    if data.labels is not None:
        ordered = dict(sorted(data.labels.items(), key=lambda pair: pair[1]))
        return ordered, list(ordered.values())
    above = [value for value in found.values if value > 0]
    if len(above) > MOST_CLASSES:
        return {"background": 0, "object": 1}, [0]
    if len(above) == 1:
        return {"background": 0, "foreground": 1}, [0, *above]
    return {"background": 0, **{f"class{value}": place for place, value in enumerate(above, 1)}}, [0, *above]


def _analyse(cases: Sequence[Case], dims: int) -> list[Mapping[str, Any]]:
    from monai.apps.auto3dseg import DataAnalyzer
    from monai.transforms import EnsureTyped, LoadImaged, Orientationd

    listed = [
        {
            "image": [str(file) for file in case.images] if len(case.images) > 1 else str(case.images[0]),
            "label": str(case.label),
        }
        for case in cases
    ]
    keys = ["image", "label"]
    steps: list[Any] = [LoadImaged(keys, ensure_channel_first=True), EnsureTyped(keys, dtype=torch.float32)]
    if dims == 3:
        steps.append(Orientationd(keys, axcodes="RAS", labels=None))
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        analyser: Any = DataAnalyzer({"training": listed}, "", output_path="", device="cpu", worker=0)
        found: list[Mapping[str, Any]] = analyser.get_all_case_stats(transform_list=steps)["stats_by_cases"]
    if len(found) != len(cases):
        raise DataFault(f"MONAI's DataAnalyzer read {len(found)} of {len(cases)} cases: see its log")
    return found


def _case(case: Case, stats: Mapping[str, Any], found: Inspected) -> Record:
    image = stats["image_stats"]
    dims = found.spatial_dims
    return {
        "case": case.name,
        "group": case.group,
        "shape": [int(n) for n in image["shape"][0]],
        "cropped": list(found.cropped[case.name]),
        "spacing": [1.0] * 2 if dims == 2 else [_rounded(n) for n in image["spacing"][:dims]],
    }


def _channel_names(data: DataFolder, found: Inspected) -> list[str]:
    if len(data.channels) == found.channels:
        return list(data.channels)
    if data.pictures and found.channels == 3:
        return ["red", "green", "blue"]
    return ["image"] if found.channels == 1 else [f"channel{c}" for c in range(found.channels)]


def _sizes(
    labels: Mapping[str, int], values: Sequence[int], analysed: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Share of an image's voxels, mean over the cases that hold the class, and how many do."""
    found: dict[str, dict[str, float]] = {}
    for name, number in labels.items():
        shares = []
        for stats in analysed:
            numbers, parts = stats["label_stats"]["labels"], stats["label_stats"]["label"]
            of = {int(n): float(part["foreground_percentage"]) for n, part in zip(numbers, parts, strict=True)}
            wanted = [n for n in of if (n > 0) == (number > 0)] if len(values) == 1 else [values[number]]
            share = sum(of.get(n, 0.0) for n in wanted)
            if share:
                shares.append(share)
        found[name] = {"cases": len(shares), "share": _rounded(np.mean(shares)) if shares else 0.0}
    return found


def _range(rows: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    array = np.asarray(rows, float)
    kinds = {"smallest": array.min(0), "median": np.median(array, 0), "largest": array.max(0)}
    return {name: [_rounded(value) for value in line] for name, line in kinds.items()}


def _rounded(value: Any) -> float:
    return float(f"{float(value):.7g}")
