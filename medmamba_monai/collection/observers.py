"""Evaluation beside a second observer: how well people agree on what the network was trained on."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from medmamba_monai.collection.evaluation import SegmentationReport
from medmamba_monai.collection.reports import Metric, Row, mean_of

__all__ = ["ObserverReport"]

MEASURES = ("dice_second_observer", "dice_against_second_observer")


class ObserverReport(SegmentationReport):
    """Adds the second observer to the report of one class.

    ``dice_second_observer`` is the Dice of the second observer's mask, taken as a prediction, with the label;
    ``dice_against_second_observer`` is that of the prediction with the second observer's mask. Items hold that mask as
    ``second`` (1, *S), 0 for background; without it the two numbers are left out.
    """

    def _row(self, item: Row, output: Row) -> Row:
        row = super()._row(item, output)
        if "second" not in item:
            return row | dict.fromkeys(MEASURES, float("nan"))
        found, truth = (output[key][1:].cpu() > 0 for key in ("pred", "label"))
        second = item["second"].cpu() > 0
        return row | dict(zip(MEASURES, (_dice(second, truth), _dice(found, second)), strict=True))

    def _metrics(self) -> dict[str, Metric]:
        return super()._metrics() | {name: mean_of([name]) for name in MEASURES}


def _dice(one: Tensor, other: Tensor) -> float:
    size: Any = one.sum() + other.sum()
    return float(2 * (one & other).sum() / size) if size else 1.0
