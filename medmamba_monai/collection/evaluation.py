"""Handlers that write what an evaluation found: a table by case and the metrics with bootstrap intervals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from medmamba_monai.collection.savers import replacing
from medmamba_monai.collection.statistics import area_under_curve, bootstrap_interval, brier_score

__all__ = ["ClassificationReport", "Report", "SegmentationReport"]

Row = dict[str, Any]
Columns = dict[str, NDArray[Any]]
Metric = Callable[[Columns], float]


class Report:
    """Collects rows, one a case, and writes ``metrics.csv`` and ``metrics.json`` when the evaluation ends.

    Items carry ``case``, ``group`` (cases that were not parted) and, where the data have several, ``site``: the main
    metrics are then given for each site too, called ``<metric>_<site>``.

    Args:
        output_dir: folder to write to.
        classes: names of the classes.
        unit: what the item's ``group`` is, for the text of the interval.
    """

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
        state: Any = engine.state
        for item, output in zip(state.batch, state.output, strict=True):
            row: Row = {"case": item["case"], "group": item["group"]}
            if "site" in item:
                row["site"] = item["site"]
            self.rows.append(row | self._row(item, output))

    def _row(self, item: Row, output: Row) -> Row:
        """What is known of one case when it was predicted."""
        raise NotImplementedError

    def _metrics(self) -> dict[str, Metric]:
        """Every metric of the report; the functions take the columns of the drawn cases."""
        raise NotImplementedError

    def _by_site(self) -> list[str]:
        """Names of the metrics that are given for each site too."""
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
        columns = {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]}
        metrics = self._metrics()
        sites = sorted(set(columns["site"].tolist())) if "site" in columns else []
        if len(sites) > 1:
            metrics |= {f"{n}_{site}": at_site(metrics[n], site) for n in self._by_site() for site in sites}
        groups = columns["group"].tolist()
        summary: dict[str, Any] = {
            "cases": len(self.rows),
            "groups": len(set(groups)),
            "interval": f"95 %, bootstrap over {self.unit}, 2000 draws, seed 0",
            "metrics": {name: _entry(metric, columns, groups) for name, metric in metrics.items()},
        }
        with replacing(self.folder / "metrics.json") as temporary:
            Path(temporary).write_text(json.dumps(summary, indent=4) + "\n", encoding="utf-8")


def at_site(metric: Metric, site: str) -> Metric:
    """Returns the metric of the cases of one site; NaN where none was drawn."""

    def value(columns: Columns) -> float:
        here = columns["site"] == site
        return metric({name: column[here] for name, column in columns.items()}) if here.any() else float("nan")

    return value


def mean_of(names: Sequence[str]) -> Metric:
    """Returns the mean of the finite numbers of some columns."""

    def value(columns: Columns) -> float:
        numbers = np.concatenate([columns[name] for name in names]).astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        return float(numbers.mean()) if numbers.size else float("nan")

    return value


def _entry(metric: Metric, columns: Columns, groups: list[Any]) -> dict[str, float | None]:
    value = metric(columns)
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    low, high = bootstrap_interval(lambda cases: metric({n: c[cases] for n, c in columns.items()}), groups)
    return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}


class SegmentationReport(Report):
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
    """

    def __init__(self, output_dir: str | Path, classes: Sequence[str], unit: str = "groups of near duplicates") -> None:
        super().__init__(output_dir, classes, unit)

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
