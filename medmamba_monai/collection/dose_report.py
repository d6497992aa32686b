"""OpenKBP's two scores of predicted doses, and pictures of a typical and the worst patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import Tensor

from medmamba_monai.collection.dose import BODY, PRESCRIBED
from medmamba_monai.collection.drawing import Picture, draw_outlines, stacked
from medmamba_monai.collection.reports import Columns, Metric, Report, Row, mean_of

__all__ = ["DoseReport", "dose_statistics"]


def dose_statistics(
    dose: NDArray[Any], organs: NDArray[Any], targets: NDArray[Any], voxel_mm3: float, names: Sequence[str]
) -> dict[str, float]:
    """The numbers of dose and volume of OpenKBP's DVH score, in Gray: arXiv 2011.14076, section on evaluation.

    For organs the mean and the dose that the 0.1 cubic centimetre with the highest dose receives at least; for targets
    what 99 %, 95 % and 1 % of the volume receive at least.

    Args:
        dose: dose in Gray.
        organs: label map of organs 1, 2, ...
        targets: label map of targets 1, 2, 3.
        voxel_mm3: volume of a voxel.
        names: names of the organs, then of the targets.

    Example:
        >>> part = np.ones((10, 10))
        >>> dose_statistics(30 * part, part, 0 * part, 8.0, ["cord", "ptv"])
        {'cord mean': 30.0, 'cord D0.1cc': 30.0}
    """
    found: dict[str, float] = {}
    split = len(names) - min(len(PRESCRIBED), len(names) - 1)
    for number, name in enumerate(names):
        organ = number < split
        inside = dose[organs == number + 1] if organ else dose[targets == number - split + 1]
        if not inside.size:
            continue
        if organ:
            tenth = max(1, round(100 / voxel_mm3))
            found[f"{name} mean"] = float(inside.mean())
            found[f"{name} D0.1cc"] = float(np.percentile(inside, max(0.0, 100 - 100 * tenth / inside.size)))
        else:
            found |= {f"{name} D{share}": float(np.percentile(inside, 100 - share)) for share in (99, 95, 1)}
    return found


class DoseReport(Report):
    """Writes OpenKBP's two scores: mean absolute error of the dose in the body, and of numbers of dose and volume.

    The output items hold ``pred`` in Gray; the items ``ct``, ``organs``, ``targets`` and ``planned`` on one grid.

    Args:
        output_dir: folder to write to.
        classes: names of the organs, then of the targets.
        unit: what the item's ``group`` is, for the text of the interval.
    """

    kept: list[list[Tensor]]
    numbers: list[str]

    def _begin(self, engine: Engine) -> None:
        super()._begin(engine)
        self.kept, self.numbers = [], []

    def _row(self, item: Row, output: Row) -> Row:
        found, planned, ct, organs, targets = (
            np.asarray(torch.as_tensor(x).cpu())[0]
            for x in (output["pred"], item["planned"], item["ct"], item["organs"], item["targets"])
        )
        voxel = abs(float(np.linalg.det(np.asarray(item["planned"].affine, dtype=np.float64)[:3, :3])))
        true, given = (dose_statistics(x, organs, targets, voxel, self.classes) for x in (planned, found))
        body = ct > BODY
        self.kept.append([output["pred"].cpu().half(), item["planned"].cpu().half(), item["targets"].cpu()])
        row: Row = {"dose_error": float(np.abs(found - planned)[body].mean())}
        row |= {f"error {name}": abs(given[name] - true[name]) for name in true}
        self.numbers += [name for name in row if name.startswith("error ") and name not in self.numbers]
        return row

    def _finish(self, engine: Engine) -> None:
        # a table has the same columns in every row
        self.rows = [{**row, **{n: row.get(n, float("nan")) for n in self.numbers}} for row in self.rows]
        order = list(self.rows[0])
        self.rows = [{name: row[name] for name in order} for row in self.rows]

    def _metrics(self) -> dict[str, Metric]:
        found = {"dose_score": mean_of(["dose_error"]), "dvh_score": mean_of(self.numbers)}
        for name in self.classes:
            columns = [number for number in self.numbers if number.startswith(f"error {name} ")]
            found |= {f"dvh_score_{name}": mean_of(columns)} if columns else {}
        return found

    def _by_site(self) -> list[str]:
        return ["dose_score", "dvh_score"]

    def _scores(self, columns: Columns) -> NDArray[np.float64]:
        return -columns["dose_error"].astype(np.float64)

    def _picture(self, engine: Engine, number: int) -> Picture:
        found, planned, targets = (x.float() for x in self.kept[number])
        shown = {"predicted": found, "planned": planned, "difference": (found - planned).abs()}
        return stacked([draw_outlines(x, {text: targets}) for text, x in shown.items()])

    def _caption(self, row: Row) -> str:
        return f"{row['case']}, mean error {row['dose_error']:.2f} Gy"
