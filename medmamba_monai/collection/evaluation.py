"""Handlers that write what an evaluation of classes found: segmentation and classification."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import Tensor

from medmamba_monai.collection.drawing import Picture, draw_chances
from medmamba_monai.collection.reports import Columns, Metric, OutlineReport, Report, Row, mean_of
from medmamba_monai.collection.statistics import area_under_curve, brier_score

__all__ = ["ClassificationReport", "SegmentationReport"]


class SegmentationReport(OutlineReport):
    """Writes every metric of the evaluator by case and class, and the means.

    With an item's ``site`` the mean of the first metric is given by site too: ``dice_mean_<site>``.

    Args:
        output_dir: folder to write to.
        classes: names of the classes, background excluded.
        unit: what the item's ``group`` is, for the text of the interval.
    """

    def __init__(self, output_dir: str | Path, classes: Sequence[str], unit: str = "subjects") -> None:
        super().__init__(output_dir, classes, unit)
        self.measures: list[str] = []

    def _row(self, item: Row, output: Row) -> Row:
        self._keep(item, _map_of(output["pred"]), _map_of(output["label"]))
        return {}

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
            found[f"{measure}_mean"] = mean_of(columns)
            found.update({column: mean_of([column]) for column in columns})
        return found

    def _by_site(self) -> list[str]:
        return [f"{self.measures[0]}_mean"]

    def _scores(self, columns: Columns) -> NDArray[np.float64]:
        found = np.stack([columns[f"{self.measures[0]}_{name}"] for name in self.classes]).astype(np.float64)
        finite = np.isfinite(found)
        mean: NDArray[np.float64] = np.where(finite, found, 0).sum(0) / np.where(finite.any(0), finite.sum(0), np.nan)
        return mean

    def _caption(self, row: Row) -> str:
        measure = self.measures[0]
        return f"{row['case']}, {measure} " + ", ".join(f"{n} {row[f'{measure}_{n}']:.2f}" for n in self.classes)


def _map_of(channels: Tensor) -> Tensor:
    """Class numbers (1, *S) of a map of classes, or of one channel a class."""
    return channels.argmax(0, keepdim=True) if channels.shape[0] > 1 else channels


class ClassificationReport(Report):
    """Writes the probabilities by case, areas under ROC curves, accuracy, sensitivity, specificity and Brier score.

    With two classes the second is the positive one, and there is one ``auc``, ``sensitivity`` and ``specificity``;
    with more each class stands against the rest (``auc_<class>``, ...) and ``auc_macro`` is the mean. The class called
    is the likeliest one. With an item's ``site`` the areas (and for two classes sensitivity and specificity) are given
    by site too: ``auc_<site>`` or ``auc_macro_<site>``.

    Args:
        output_dir: folder to write to.
        classes: names of the classes, in the order of the network's outputs.
        unit: what the item's ``group`` is, for the text of the interval.
        headline: the metric that stands for the bundle in tables; the area when left out.
    """

    def __init__(
        self,
        output_dir: str | Path,
        classes: Sequence[str],
        unit: str = "groups of near duplicates",
        headline: str | None = None,
    ) -> None:
        super().__init__(output_dir, classes, unit)
        self.headline = headline

    def _beside(self, columns: Columns) -> dict[str, Any]:
        return {} if self.headline is None else {"headline": self.headline}

    def _row(self, item: Row, output: Row) -> Row:
        chances = [float(number) for number in output["pred"]]
        row: Row = {"label": self.classes[int(item["label"])], "predicted": self.classes[int(np.argmax(chances))]}
        return row | dict(zip(self.classes, chances, strict=True))

    def _metrics(self) -> dict[str, Metric]:
        found: dict[str, Metric] = {}
        two = len(self.classes) == 2
        if not two:
            found["auc_macro"] = lambda cases: float(np.mean([_area(cases, name) for name in self.classes]))
        for name in self.classes[1:] if two else self.classes:
            ending = "" if two else f"_{name}"
            found[f"auc{ending}"] = lambda cases, name=name: _area(cases, name)  # type: ignore[misc]
            found[f"sensitivity{ending}"] = lambda cases, name=name: _share(cases, name, True)  # type: ignore[misc]
            found[f"specificity{ending}"] = lambda cases, name=name: _share(cases, name, False)  # type: ignore[misc]
        found["accuracy"] = lambda cases: float(np.mean(cases["label"] == cases["predicted"]))
        found["balanced_accuracy"] = lambda cases: float(np.mean([_share(cases, c, True) for c in self.classes]))
        found["brier"] = self._brier
        return found

    def _by_site(self) -> list[str]:
        return ["auc", "sensitivity", "specificity"] if len(self.classes) == 2 else ["auc_macro"]

    def _scores(self, columns: Columns) -> NDArray[np.float64]:
        return np.array([row[row["label"]] for row in self.rows])

    def _picture(self, engine: Engine, number: int) -> Picture:
        source: Any = engine
        row = self.rows[number]
        image = source.data_loader.dataset[number]["image"]
        return draw_chances(image, {name: row[name] for name in self.classes}, truth=row["label"])

    def _caption(self, row: Row) -> str:
        return f"{row['case']}, {row['label']}, called {row['predicted']} (probability {row[row['predicted']]:.2f})"

    def _brier(self, columns: Columns) -> float:
        # of two classes the positive one alone is counted, as is usual
        names = self.classes[1:] if len(self.classes) == 2 else self.classes
        chances = np.stack([columns[name] for name in names], 1)
        return brier_score(chances, np.stack([columns["label"] == name for name in names], 1))


def _area(columns: Columns, name: str) -> float:
    return area_under_curve(columns[name], columns["label"] == name)


def _share(columns: Columns, name: str, inside: bool) -> float:
    """Share of the cases of the class that are called so, or of the other cases that are not."""
    right = (columns["predicted"] == name)[(columns["label"] == name) == inside] == inside
    return float(np.mean(right)) if right.size else float("nan")
