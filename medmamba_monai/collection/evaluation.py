"""Handlers that write what an evaluation found: a table by case and the metrics with bootstrap intervals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from medmamba_monai.collection.savers import replacing
from medmamba_monai.collection.statistics import area_under_curve, bootstrap_interval

__all__ = ["ClassificationReport", "SegmentationReport"]

Row = dict[str, Any]
Metric = Callable[[list[Row]], float]


class _Report:
    """Collects rows, one a case, and writes ``metrics.csv`` and ``metrics.json`` when the evaluation ends."""

    def __init__(self, output_dir: str | Path, classes: Sequence[str], unit: str) -> None:
        self.folder = Path(output_dir)
        self.classes = tuple(classes)
        self.unit = unit
        self.rows: list[Row] = []

    def attach(self, engine: Engine) -> None:
        """Listens to an evaluator.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _begin(self, engine: Engine) -> None:
        self.rows = []

    def _collect(self, engine: Engine) -> None:
        raise NotImplementedError

    def _metrics(self) -> dict[str, Metric]:
        raise NotImplementedError

    def _finish(self, engine: Engine) -> None:
        """Completes the rows with what is known at the end only."""

    def _write(self, engine: Engine) -> None:
        self._finish(engine)
        with (
            replacing(self.folder / "metrics.csv") as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        groups = [row["group"] for row in self.rows]
        summary: dict[str, Any] = {
            "cases": len(self.rows),
            "groups": len(set(groups)),
            "interval": f"95 %, bootstrap over {self.unit}, 2000 draws, seed 0",
            "metrics": {name: self._entry(metric, groups) for name, metric in self._metrics().items()},
        }
        with replacing(self.folder / "metrics.json") as temporary:
            Path(temporary).write_text(json.dumps(summary, indent=4) + "\n", encoding="utf-8")

    def _entry(self, metric: Metric, groups: list[Any]) -> dict[str, float | None]:
        value = metric(self.rows)
        if not np.isfinite(value):
            return {"value": None, "low": None, "high": None}
        low, high = bootstrap_interval(lambda cases: metric([self.rows[i] for i in cases]), groups)
        return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}


class SegmentationReport(_Report):
    """Writes every metric of the evaluator by case and class, and the means.

    Args:
        output_dir: folder to write to.
        classes: names of the classes, background excluded.
        unit: what the item's ``group`` is, for the text of the interval.
    """

    def __init__(self, output_dir: str | Path, classes: Sequence[str], unit: str = "subjects") -> None:
        super().__init__(output_dir, classes, unit)
        self.measures: list[str] = []

    def _collect(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        self.rows.extend({"case": item["case"], "group": item["group"]} for item in batch)

    def _finish(self, engine: Engine) -> None:
        state: Any = engine.state
        self.measures = list(state.metric_details)
        for measure, values in state.metric_details.items():
            for row, numbers in zip(self.rows, np.asarray(values.cpu()), strict=True):
                row.update(
                    {f"{measure}_{name}": float(number) for name, number in zip(self.classes, numbers, strict=True)}
                )

    def _metrics(self) -> dict[str, Metric]:
        found: dict[str, Metric] = {}
        for measure in self.measures:
            columns = [f"{measure}_{name}" for name in self.classes]
            found[f"{measure}_mean"] = _mean_of(columns)
            found.update({column: _mean_of([column]) for column in columns})
        return found


def _mean_of(columns: list[str]) -> Metric:
    def mean(rows: list[Row]) -> float:
        numbers = np.array([[row[column] for column in columns] for row in rows], dtype=np.float64)
        numbers = numbers[np.isfinite(numbers)]
        return float(numbers.mean()) if numbers.size else float("nan")

    return mean


class ClassificationReport(_Report):
    """Writes the probabilities by case, the areas under the ROC curves, accuracy, sensitivity and specificity.

    Args:
        output_dir: folder to write to.
        classes: names of the classes, in the order of the network's outputs.
        unit: what the item's ``group`` is, for the text of the interval.
    """

    def __init__(self, output_dir: str | Path, classes: Sequence[str], unit: str = "groups of near duplicates") -> None:
        super().__init__(output_dir, classes, unit)

    def _collect(self, engine: Engine) -> None:
        state: Any = engine.state
        for item, output in zip(state.batch, state.output, strict=True):
            chances = [float(number) for number in output["pred"]]
            row: Row = {"case": item["case"], "group": item["group"], "label": self.classes[int(item["label"])]}
            row["predicted"] = self.classes[int(np.argmax(chances))]
            row.update(zip(self.classes, chances, strict=True))
            self.rows.append(row)

    def _metrics(self) -> dict[str, Metric]:
        found: dict[str, Metric] = {"auc_macro": lambda rows: float(np.mean([_area(rows, c) for c in self.classes]))}
        for name in self.classes:
            found[f"auc_{name}"] = lambda rows, name=name: _area(rows, name)  # type: ignore[misc]
        found["accuracy"] = lambda rows: float(np.mean([row["label"] == row["predicted"] for row in rows]))
        found["balanced_accuracy"] = lambda rows: float(np.mean([_share(rows, c, True) for c in self.classes]))
        for name in self.classes:
            found[f"sensitivity_{name}"] = lambda rows, name=name: _share(rows, name, True)  # type: ignore[misc]
            found[f"specificity_{name}"] = lambda rows, name=name: _share(rows, name, False)  # type: ignore[misc]
        return found


def _area(rows: list[Row], name: str) -> float:
    return area_under_curve(np.array([row[name] for row in rows]), np.array([row["label"] == name for row in rows]))


def _share(rows: list[Row], name: str, inside: bool) -> float:
    """Share of the cases of the class that are called so, or of the other cases that are not."""
    right = [(row["predicted"] == name) == inside for row in rows if (row["label"] == name) == inside]
    return float(np.mean(right)) if right else float("nan")
