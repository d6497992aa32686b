"""The second observer in the report of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medmamba_monai.collection.observers import ObserverReport


def evaluate(folder: Path, second: bool) -> dict[str, Any]:
    label, found, other = (torch.zeros(1, 8, 8) for _ in range(3))
    label[:, :4], found[:, :6], other[:, 2:4] = 1, 1, 255
    item = {"case": "a", "group": "a", "image": torch.rand(3, 8, 8)} | ({"second": other} if second else {})
    output = {"pred": torch.cat((1 - found, found)), "label": torch.cat((1 - label, label))}
    state = SimpleNamespace(batch=[item], output=[output], metric_details={"dice": torch.tensor([[0.8]])})
    engine: Any = SimpleNamespace(data_loader=SimpleNamespace(dataset=[item]), state=state)
    report = ObserverReport(folder, ["vessel"], "children")
    for call in (report._begin, report._collect, report._write):
        call(engine)
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]


def test_both_observers_are_compared(tmp_path: Path) -> None:
    metrics = evaluate(tmp_path, second=True)
    # rows 2 and 3 of 8 against rows 0 to 3, and against rows 0 to 5
    assert metrics["dice_second_observer"]["value"] == pytest.approx(2 * 2 / (2 + 4), abs=1e-4)
    assert metrics["dice_against_second_observer"]["value"] == pytest.approx(2 * 2 / (2 + 6), abs=1e-4)
    assert metrics["dice_mean"]["value"] == pytest.approx(0.8)


def test_without_a_second_observer_the_numbers_are_left_out(tmp_path: Path) -> None:
    metrics = evaluate(tmp_path, second=False)
    assert metrics["dice_second_observer"]["value"] is None and metrics["dice_mean"]["value"] == pytest.approx(0.8)
