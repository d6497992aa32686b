"""Evaluation of instance segmentation: how many objects were found, and how well each was outlined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_panoptic_quality
from numpy.typing import NDArray

from medmamba_monai.collection.reports import Columns, Metric, OutlineReport, Row, mean_of

__all__ = ["InstanceReport", "aggregated_jaccard", "instance_metrics", "matched", "pairwise_iou"]

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
Labels = NDArray[np.integer[Any]]


class InstanceReport(OutlineReport):
    """Writes F1, average precision, AJI and panoptic quality of instance maps, by image, and their means.

    Metrics: ``f1`` and ``precision``, ``recall`` at an IoU above 0.5 (means over images), ``f1_pooled`` (objects of
    all images together), ``average_precision`` (TP / (TP + FP + FN), mean over the IoU thresholds 0.5, 0.55 to 0.95
    and images), ``aji``, ``pq``, ``dice`` (object or not, by pixel). With an item's ``site`` also ``f1_<site>`` and
    ``aji_<site>``.

    Args:
        output_dir: folder to write to.
        unit: what the item's ``group`` is, for the text of the interval.
        pred: key of the predicted instance map (1, *S), whole numbers, 0 for background.
        label: key of the reference instance map of the same shape.
    """

    def __init__(self, output_dir: str | Path, unit: str = "images", pred: str = "pred", label: str = "label") -> None:
        super().__init__(output_dir, (), unit)
        self.keys = (pred, label)

    def _row(self, item: Row, output: Row) -> Row:
        maps = [output[key] for key in self.keys]
        self._keep(item, *maps)
        found, reference = (torch.as_tensor(label).cpu().numpy()[0].astype(np.int64) for label in maps)
        return instance_metrics(found, reference)

    def _metrics(self) -> dict[str, Metric]:
        names = ("f1", "precision", "recall", "average_precision", "aji", "pq", "dice")
        return {"f1": mean_of(["f1"]), "f1_pooled": _pooled} | {name: mean_of([name]) for name in names[1:]}

    def _by_site(self) -> list[str]:
        return ["f1", "aji"]

    def _scores(self, columns: Columns) -> NDArray[np.float64]:
        return columns["f1"].astype(np.float64)

    def _caption(self, row: Row) -> str:
        return f"{row['case']}, F1 {row['f1']:.2f}: {row['tp']} found, {row['fp']} extra, {row['fn']} missed"


def _pooled(columns: Columns) -> float:
    right, extra, missed = (float(columns[name].sum()) for name in ("tp", "fp", "fn"))
    return _ratio(2 * right, 2 * right + extra + missed)


def instance_metrics(found: Labels, reference: Labels) -> dict[str, float]:
    """Measures of one image: objects right, extra and missed at IoU above 0.5, and the metrics of the report.

    An image without objects, in which none is found, counts as perfect.

    Args:
        found: predicted instance map, 0 for background.
        reference: reference of the same shape.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> truth = np.array([[1, 1, 0, 2, 2]])
        >>> measures = instance_metrics(np.array([[5, 5, 0, 0, 0]]), truth)
        >>> measures["tp"], measures["fn"], round(measures["f1"], 3), measures["aji"]
        (1, 1, 0.667, 0.5)
    """
    if found.shape != reference.shape:
        raise ValueError(
            f"the prediction has shape {found.shape}, the reference {reference.shape}: invert the resizing"
        )
    overlaps = pairwise_iou(found, reference)
    predicted, true = overlaps.shape
    counts = [matched(overlaps, threshold) for threshold in THRESHOLDS]
    right = counts[0]
    quality = compute_panoptic_quality(torch.from_numpy(found), torch.from_numpy(reference), "pq", smooth_numerator=0)
    return {
        "tp": right,
        "fp": predicted - right,
        "fn": true - right,
        "f1": _ratio(2 * right, predicted + true),
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, true),
        "average_precision": float(np.mean([_ratio(n, predicted + true - n) for n in counts])),
        "aji": aggregated_jaccard(found, reference),
        "pq": float(quality) if predicted + true else 1.0,
        "dice": _ratio(2 * int(((found > 0) & (reference > 0)).sum()), int((found > 0).sum() + (reference > 0).sum())),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def pairwise_iou(found: Labels, reference: Labels) -> NDArray[np.float64]:
    """Intersection over union of every predicted with every reference object.

    Args:
        found: predicted instance map, 0 for background.
        reference: reference of the same shape.

    Returns:
        Array (predicted objects, reference objects), in the order of their numbers.

    Example:
        >>> pairwise_iou(np.array([0, 1, 1]), np.array([7, 7, 0])).round(3).tolist()
        [[0.333]]
    """
    common, union = _common_and_union(found, reference)
    return common / union


def _common_and_union(found: Labels, reference: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    _, first = np.unique(np.append(found.ravel(), 0), return_inverse=True)
    _, second = np.unique(np.append(reference.ravel(), 0), return_inverse=True)
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first[:-1], second[:-1]), 1)
    common = table[1:, 1:]
    return common, table[1:].sum(1)[:, None] + table[:, 1:].sum(0)[None, :] - common


def matched(overlaps: NDArray[np.float64], threshold: float) -> int:
    """Number of pairs whose overlap exceeds a threshold; from 0.5 on an object has one partner at most.

    Args:
        overlaps: as :func:`pairwise_iou` returns them.
        threshold: at least 0.5.
    """
    return int((overlaps > threshold).sum())


def aggregated_jaccard(found: Labels, reference: Labels) -> float:
    """Aggregated Jaccard index: common pixels of best pairs over their union, unpaired predictions counted as wrong.

    Kumar et al., IEEE Transactions on Medical Imaging 36:1550, 2017. Every reference object takes the predicted object
    of the largest IoU; predicted objects that no reference object took add their area to the union.

    Args:
        found: predicted instance map, 0 for background.
        reference: reference of the same shape.

    Example:
        >>> aggregated_jaccard(np.array([1, 1, 0, 2]), np.array([1, 1, 1, 0]))
        0.5
    """
    common, union = _common_and_union(found, reference)
    area = np.unique(found[found > 0], return_counts=True)[1].astype(float)
    missed = np.unique(reference[reference > 0], return_counts=True)[1].astype(float)
    if not (area.size and missed.size):
        return 1.0 if area.size == missed.size else 0.0
    best = (common / union).argmax(0)
    objects = np.arange(missed.size)
    touched = common[best, objects] > 0
    inside = common[best, objects].sum()
    around = np.where(touched, union[best, objects], missed).sum()
    unused = np.setdiff1d(np.arange(area.size), best[touched])
    return float(inside / (around + area[unused].sum()))
