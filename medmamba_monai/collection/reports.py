"""What the reports of all kinds of evaluation share: the table by case, the metrics with intervals, two pictures."""

from __future__ import annotations

import csv
import json
import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.meta_tensor import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from medmamba_monai.collection.drawing import Picture, draw_outlines, save_picture
from medmamba_monai.collection.savers import replacing
from medmamba_monai.collection.statistics import bootstrap_intervals

__all__ = ["Columns", "Metric", "OutlineReport", "Packed", "Report", "Row", "mean_of"]

Row = dict[str, Any]
Columns = dict[str, NDArray[Any]]
Metric = Callable[[Columns], float]


class Report:
    """Collects rows, one a case, and writes what was found when the evaluation ends.

    The table by case is ``metrics.csv``, the metrics with their intervals are ``metrics.json``. The folder ``pictures``
    gets ``typical.png`` and ``worst.png``, the cases of the median and the lowest score, and ``captions.json``.

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

    def _scores(self, columns: Columns) -> NDArray[np.float64]:
        """A number for each case by which the pictured cases are chosen; a larger one is better."""
        raise NotImplementedError

    def _picture(self, engine: Engine, number: int) -> Picture | None:
        """The picture of one case."""
        raise NotImplementedError

    def _caption(self, row: Row) -> str:
        """What is said of a pictured case."""
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
        summary: dict[str, Any] = {
            "cases": len(self.rows),
            "groups": len(set(columns["group"].tolist())),
            "interval": f"95 %, bootstrap over {self.unit}, 2000 draws, seed 0",
            "metrics": self._intervals(self._metrics(), columns),
        }
        summary |= self._beside(columns)
        with replacing(self.folder / "metrics.json") as temporary:
            Path(temporary).write_text(json.dumps(summary, indent=4) + "\n", encoding="utf-8")
        self._draw(engine, columns)

    def _intervals(self, metrics: dict[str, Metric], columns: Columns) -> dict[str, dict[str, float | None]]:
        sites = sorted(set(columns["site"].tolist())) if "site" in columns else []
        if len(sites) > 1:
            metrics |= {f"{n}_{site}": at_site(metrics[n], site) for n in self._by_site() for site in sites}
        return _measured(metrics, columns, columns["group"].tolist())

    def _beside(self, columns: Columns) -> dict[str, Any]:
        """What else ``metrics.json`` says."""
        return {}

    def _draw(self, engine: Engine, columns: Columns) -> None:
        scores = self._scores(columns)
        order = [int(number) for number in np.argsort(scores, kind="stable") if np.isfinite(scores[number])]
        captions: dict[str, str] = {}
        for name, number in (("typical", order[len(order) // 2]), ("worst", order[0])) if order else ():
            picture = self._picture(engine, number)
            if picture is not None:
                captions[name] = self._caption(self.rows[number])
                save_picture(picture, self.folder / "pictures" / f"{name}.png")
        with replacing(self.folder / "pictures" / "captions.json") as temporary:
            Path(temporary).write_text(json.dumps(captions, indent=4) + "\n", encoding="utf-8")


class OutlineReport(Report):
    """A report whose pictures show the outlines of the prediction beside those of the reference."""

    def __init__(self, output_dir: str | Path, classes: Sequence[str], unit: str) -> None:
        super().__init__(output_dir, classes, unit)
        self.kept: list[tuple[str | None, Packed, Packed]] = []

    def _begin(self, engine: Engine) -> None:
        super()._begin(engine)
        self.kept = []

    def _keep(self, item: Row, found: Tensor, reference: Tensor) -> None:
        """Keeps the label maps (1, *S) of a case until it is known whether it shall be drawn."""
        image = item["image"]
        file = image.meta.get("filename_or_obj") if isinstance(image, MetaTensor) else None
        self.kept.append((None if file is None else str(file), Packed(found), Packed(reference)))

    def _picture(self, engine: Engine, number: int) -> Picture | None:
        file, labels = self.kept[number][0], self._labels(number)
        size = labels["reference"].shape[1:]
        image = None if file is None else _read(file)
        if image is None or image.shape[1:] != size:
            source: Any = engine
            image = source.data_loader.dataset[number]["image"]
        if image.shape[1:] != size:
            logging.getLogger(__name__).warning(
                "no picture of %s: the image has size %s, its reference %s",
                self.rows[number]["case"], tuple(image.shape[1:]), tuple(size),
            )  # fmt: skip
            return None
        return draw_outlines(image, labels)

    def _labels(self, number: int) -> dict[str, Tensor]:
        """Captions and label maps of one case, the reference last."""
        _, found, reference = self.kept[number]
        return {"prediction": found.unpacked(), "reference": reference.unpacked()}


class Packed:
    """A label map in little memory."""

    def __init__(self, label: Tensor) -> None:
        plain = torch.as_tensor(label).cpu().numpy().astype(np.int32)
        self.shape = plain.shape
        self.bytes = zlib.compress(plain.tobytes(), 1)
        self.affine = label.affine if isinstance(label, MetaTensor) else None

    def unpacked(self) -> Tensor:
        array = np.frombuffer(zlib.decompress(self.bytes), np.int32).reshape(self.shape)
        return MetaTensor(torch.from_numpy(array.copy()), affine=self.affine)


def _read(file: str) -> Tensor:
    from monai.transforms import LoadImage

    image: Tensor = LoadImage(image_only=True, ensure_channel_first=True)(file)
    # an opacity channel is not shown, a third axis of length 1 neither
    image = image[..., 0] if image.ndim == 4 and image.shape[-1] == 1 else image
    return image[:3] if image.ndim == 3 and image.shape[0] > 3 else image


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


def _measured(metrics: dict[str, Metric], columns: Columns, groups: list[Any]) -> dict[str, dict[str, float | None]]:
    def values(cases: NDArray[np.int64]) -> list[float]:
        drawn = {name: column[cases] for name, column in columns.items()}
        return [metric(drawn) for metric in metrics.values()]

    found = zip(metrics, values(np.arange(len(groups))), bootstrap_intervals(values, groups), strict=True)
    return {
        name: dict(zip(("value", "low", "high"), _rounded(value, *ends), strict=True)) for name, value, ends in found
    }


def _rounded(*numbers: float) -> list[float | None]:
    return [round(number, 4) if np.isfinite(number) else None for number in numbers]
