"""Measures of instance maps against hand counts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medmamba_monai.collection.instances import InstanceReport, aggregated_jaccard, instance_metrics, pairwise_iou


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Reference: three objects of 16 pixels. Prediction: one exact, one with IoU 12/16, one missed, one extra."""
    reference, found = np.zeros((12, 12), np.int64), np.zeros((12, 12), np.int64)
    reference[:4, :4], reference[:4, 6:10], reference[6:10, :4] = 3, 5, 9
    found[:4, :4], found[:4, 6:9], found[7:11, 7:11] = 2, 8, 4
    return found, reference


def test_measures_equal_hand_counts() -> None:
    measures = instance_metrics(*masks())
    assert (measures["tp"], measures["fp"], measures["fn"]) == (2, 1, 1)
    assert measures["f1"] == measures["precision"] == measures["recall"] == pytest.approx(2 / 3)
    # thresholds 0.5 to 0.7 let both pairs pass, 0.75 to 0.95 only the exact one
    assert measures["average_precision"] == pytest.approx((5 * 2 / 4 + 5 * 1 / 5) / 10)
    assert measures["aji"] == pytest.approx((16 + 12) / (16 + 16 + 16 + 16))
    assert measures["pq"] == pytest.approx((1 + 12 / 16) / 3)
    assert measures["dice"] == pytest.approx(2 * (16 + 12) / (16 + 12 + 16 + 3 * 16))


def test_numbers_of_the_objects_do_not_matter() -> None:
    found, reference = masks()
    renamed = np.where(found > 0, 100 - found, 0)
    assert instance_metrics(renamed, reference) == instance_metrics(found, reference)
    assert np.allclose(
        np.sort(pairwise_iou(renamed, reference).ravel()), np.sort(pairwise_iou(found, reference).ravel())
    )


@pytest.mark.parametrize(("empty", "value"), [("both", 1.0), ("found", 0.0), ("reference", 0.0)])
def test_images_without_objects(empty: str, value: float) -> None:
    found, reference = masks()
    if empty in ("both", "found"):
        found = np.zeros_like(found)
    if empty in ("both", "reference"):
        reference = np.zeros_like(reference)
    measures = instance_metrics(found, reference)
    assert [measures[name] for name in ("f1", "average_precision", "aji", "pq", "dice")] == [value] * 5


def test_a_prediction_is_counted_once_in_the_jaccard_index() -> None:
    # one predicted object over two of the reference: it stays out of the unused ones
    found, reference = np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2])
    assert aggregated_jaccard(found, reference) == pytest.approx(4 / 8)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="invert the resizing"):
        instance_metrics(np.zeros((3, 3), int), np.zeros((4, 4), int))


def test_report_pools_objects_and_parts_kinds(tmp_path: Path) -> None:
    found, reference = masks()
    items, outputs = [], []
    for number, prediction in enumerate((found, reference, np.zeros_like(found))):
        item = {"case": f"n{number}", "group": number, "site": "tissue" if number else "cells"}
        items.append(item | {"image": torch.rand(3, 12, 12)})
        outputs.append({"pred": torch.from_numpy(prediction)[None], "label": torch.from_numpy(reference)[None]})
    engine: Any = SimpleNamespace(
        data_loader=SimpleNamespace(dataset=items), state=SimpleNamespace(batch=items, output=outputs)
    )
    report = InstanceReport(tmp_path, "fields")
    for call in (report._begin, report._collect, report._write):
        call(engine)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert metrics["f1"]["value"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-4)
    assert metrics["f1_pooled"]["value"] == pytest.approx(2 * 5 / (2 * 5 + 1 + 4), abs=1e-4)
    assert (metrics["f1_cells"]["value"], metrics["f1_tissue"]["value"]) == (0.6667, 0.5)
    captions = json.loads((tmp_path / "pictures" / "captions.json").read_text(encoding="utf-8"))
    assert captions["worst"] == "n2, F1 0.00: 0 found, 0 extra, 3 missed"
