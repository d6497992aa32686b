"""The reports of segmentation and classification: their numbers against hand counts, sites, pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from medmamba_monai.collection.evaluation import ClassificationReport, SegmentationReport
from medmamba_monai.collection.reports import Report


def written(report: Report, items: list[dict], outputs: list[dict], **state: Any) -> dict[str, dict[str, float]]:
    loader = SimpleNamespace(dataset=items)
    engine: Any = SimpleNamespace(data_loader=loader, state=SimpleNamespace(batch=items, output=outputs, **state))
    for call in (report._begin, report._collect, report._write):
        call(engine)
    return json.loads((report.folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]


def captions(folder: Path) -> dict[str, str]:
    return json.loads((folder / "pictures" / "captions.json").read_text(encoding="utf-8"))


def classified(chances: list[float], labels: list[int], sites: str = "") -> tuple[list[dict], list[dict]]:
    items = [{"case": f"c{i}", "group": i, "label": y, "image": torch.rand(1, 9, 9)} for i, y in enumerate(labels)]
    for item, site in zip(items, sites, strict=False):
        item["site"] = site
    return items, [{"pred": torch.tensor([1 - chance, chance])} for chance in chances]


CHANCES, LABELS, SITES = [0.1, 0.6, 0.4, 0.9, 0.3, 0.8], [0, 0, 1, 1, 0, 1], "aaabbb"


def test_two_classes_have_one_area(tmp_path: Path) -> None:
    found = written(ClassificationReport(tmp_path, ["normal", "ill"]), *classified(CHANCES, LABELS))
    values = {name: entry["value"] for name, entry in found.items()}
    assert values == {
        "auc": pytest.approx(8 / 9, abs=1e-4),
        "sensitivity": pytest.approx(2 / 3, abs=1e-4),
        "specificity": pytest.approx(2 / 3, abs=1e-4),
        "accuracy": pytest.approx(4 / 6, abs=1e-4),
        "balanced_accuracy": pytest.approx(2 / 3, abs=1e-4),
        "brier": pytest.approx(np.mean((np.array(CHANCES) - LABELS) ** 2), abs=1e-4),
    }
    assert found["auc"]["low"] <= values["auc"] <= found["auc"]["high"]


def test_sites_are_measured_apart(tmp_path: Path) -> None:
    found = written(ClassificationReport(tmp_path, ["normal", "ill"]), *classified(CHANCES, LABELS, SITES))
    by_site = {name: found[name]["value"] for name in ("auc_a", "auc_b", "sensitivity_a", "specificity_b")}
    assert by_site == {"auc_a": 0.5, "auc_b": 1.0, "sensitivity_a": 0.0, "specificity_b": 1.0}


def test_three_classes_have_areas_each(tmp_path: Path) -> None:
    items, _ = classified([0.0] * 6, [0, 1, 2, 0, 1, 2])
    chances = np.random.default_rng(0).dirichlet([1, 1, 1], 6)
    found = written(
        ClassificationReport(tmp_path, ["a", "b", "c"]), items, [{"pred": torch.tensor(row)} for row in chances]
    )
    areas = [found[f"auc_{name}"]["value"] for name in "abc"]
    assert found["auc_macro"]["value"] == pytest.approx(np.mean(areas), abs=1e-3)
    truth = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    assert found["brier"]["value"] == pytest.approx(((chances - truth) ** 2).sum(1).mean(), abs=1e-4)


def test_the_worst_and_a_typical_picture_are_drawn(tmp_path: Path) -> None:
    written(ClassificationReport(tmp_path, ["normal", "ill"]), *classified(CHANCES, LABELS))
    # chances of the true class: 0.9, 0.4, 0.4, 0.9, 0.7, 0.8
    assert captions(tmp_path) == {
        "typical": "c5, ill, called ill (probability 0.80)",
        "worst": "c1, normal, called ill (probability 0.60)",
    }
    assert Image.open(tmp_path / "pictures" / "worst.png").size == (320, 380)


def segmented(folder: Path, file: bool) -> tuple[list[dict], list[dict]]:
    rng = np.random.default_rng(0)
    items, outputs = [], []
    for number in range(3):
        meta = {}
        if file:
            Image.fromarray(rng.integers(0, 255, (8, 12, 3)).astype(np.uint8)).save(folder / f"c{number}.png")
            meta = {"filename_or_obj": str(folder / f"c{number}.png")}
        size = (1, 6, 4) if file else (1, 12, 8)  # the network's image is smaller than the file
        label = torch.zeros(2, 12, 8)
        label[1, 2:9, 2:6], label[0] = 1, 1
        items.append({"case": f"c{number}", "group": number, "image": MetaTensor(torch.rand(size), meta=meta)})
        outputs.append({"pred": label.roll(number, 1), "label": label})
    return items, outputs


@pytest.mark.parametrize("file", [True, False], ids=["the file is drawn", "the transformed image is drawn"])
def test_segmentations_are_measured_and_drawn(tmp_path: Path, file: bool) -> None:
    details = {"dice": torch.tensor([[0.9], [0.8], [0.3]]), "hausdorff95": torch.tensor([[1.0], [float("nan")], [3.0]])}
    report = SegmentationReport(tmp_path, ["lesion"])
    found = written(report, *segmented(tmp_path, file), metric_details=details)
    assert (found["dice_mean"]["value"], found["hausdorff95_lesion"]["value"]) == (0.6667, 2.0)
    assert captions(tmp_path) == {"typical": "c1, dice lesion 0.80", "worst": "c2, dice lesion 0.30"}
    picture = np.asarray(Image.open(tmp_path / "pictures" / "worst.png"))
    colours = file  # the file is a colour picture
    noise = picture[20:, -20:-10]
    assert bool((noise.max(-1) != noise.min(-1)).any()) == colours
    with open(tmp_path / "metrics.csv", newline="", encoding="utf-8") as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == ["c0", "c1", "c2"]


def test_an_image_on_another_grid_is_not_drawn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items, outputs = segmented(tmp_path, False)
    for item in items:
        item["image"] = torch.rand(1, 5, 5)
    written(SegmentationReport(tmp_path, ["lesion"]), items, outputs, metric_details={"dice": torch.ones(3, 1)})
    assert captions(tmp_path) == {} and "the image has size (5, 5), its reference (12, 8)" in caplog.text
