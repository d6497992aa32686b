"""The head circumference of a segmented head: an ellipse fitted by moments, its perimeter, reports of both."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray

from medmamba_monai.collection.datasets.fetal_head import read_sizes
from medmamba_monai.collection.evaluation import SegmentationReport
from medmamba_monai.collection.reports import Metric, Row, mean_of
from medmamba_monai.collection.savers import replacing

__all__ = ["CircumferenceReport", "Ellipse", "HeadCircumferenced", "fit_ellipse"]


@dataclass(frozen=True)
class Ellipse:
    """An ellipse in a picture.

    Args:
        centre: column and row, in pixels.
        semi_axes: the longer and the shorter one, in millimetres or pixels.
        angle: of the longer one against the row, in degrees, 0 to 180.
    """

    centre: tuple[float, float]
    semi_axes: tuple[float, float]
    angle: float

    @property
    def perimeter(self) -> float:
        """Ramanujan's second formula; exact to 1 in 10 000 for axes up to 1 : 5.

        Example:
            >>> round(Ellipse((0, 0), (1.0, 1.0), 0.0).perimeter, 6)
            6.283185
        """
        a, b = self.semi_axes
        if a + b == 0:
            return 0.0
        flat = 3 * ((a - b) / (a + b)) ** 2
        return math.pi * (a + b) * (1 + flat / (10 + math.sqrt(4 - flat)))


def fit_ellipse(mask: NDArray[Any], spacing: Sequence[float] = (1.0, 1.0), border: float = 0.0) -> Ellipse:
    """Returns the ellipse that has the middle and the second moments of a mask.

    Args:
        mask: (W, H), not 0 inside; an empty one gives axes of 0.
        spacing: size of a pixel along both axes.
        border: pixels by which the mask is larger than the wanted ellipse on every side.

    Example:
        >>> x, y = np.meshgrid(np.arange(100), np.arange(80), indexing="ij")
        >>> found = fit_ellipse(((x - 50) / 40) ** 2 + ((y - 40) / 30) ** 2 <= 1)
        >>> [round(axis, 1) for axis in found.semi_axes], found.centre
        ([40.0, 30.0], (50.0, 40.0))
    """
    places = np.argwhere(np.asarray(mask) != 0).astype(np.float64)
    if not len(places):
        return Ellipse((0.0, 0.0), (0.0, 0.0), 0.0)
    middle = places.mean(0)
    steps = (places - middle) * np.asarray(spacing, dtype=np.float64)
    # an ellipse with semi-axis a has the variance a^2 / 4 along it
    spread, directions = np.linalg.eigh(steps.T @ steps / len(steps))
    short, long = np.maximum(2 * np.sqrt(np.maximum(spread, 0)) - border * float(np.mean(spacing)), 0).tolist()
    angle = math.degrees(math.atan2(directions[1, 1], directions[0, 1])) % 180
    return Ellipse((float(middle[0]), float(middle[1])), (long, short), angle)


def circumference(label: Any, pixel_mm: float, border: float) -> float:
    """Head circumference in millimetres.

    Args:
        label: map (1, W, H) with 0 for background.
        pixel_mm: size of a pixel.
        border: share of the picture's width by which the head's mask is too large on every side.
    """
    plain = np.asarray(label.detach().cpu())[0]
    return fit_ellipse(plain, (pixel_mm, pixel_mm), border * plain.shape[0]).perimeter


class HeadCircumferenced(MapTransform):
    """Prints the circumference of every head and writes it with its ellipse beside the segmentation.

    The size of a pixel is ``pixel_mm``, or that of the table, or that of the image's header; where none is known the
    circumference is given in pixels.

    Args:
        keys: keys of label maps (1, W, H) on the grid of the input.
        output_dir: folder for ``<case>_circumference.json``.
        pixel_mm: size of a pixel of every picture; 0 when it is not known.
        pixel_table: CSV file with HC18's columns ``filename`` and ``pixel size(mm)``; empty without one.
        border: share of the picture's width by which the mask is larger than the head on every side.

    Raises:
        InputError: when the table does not exist or has other columns.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        pixel_mm: float = 0.0,
        pixel_table: str | Path = "",
        border: float = 0.0,
    ) -> None:
        super().__init__(keys)
        self.folder, self.pixel_mm, self.border = Path(output_dir), float(pixel_mm), border
        self.table = read_sizes(pixel_table) if str(pixel_table) else {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            case, label = str(item["case"]), np.asarray(item[key].detach().cpu())[0]
            spacing = self._spacing(case, item[key])
            ellipse = fit_ellipse(label, spacing or (1.0, 1.0), self.border * label.shape[0])
            unit, length = "mm" if spacing else "pixels", round(ellipse.perimeter, 2)
            print(f"{case}: head circumference {length:.1f} {unit}", flush=True)
            found = {
                "unit": unit,
                "head_circumference": length,
                "semi_axes": [round(axis, 3) for axis in ellipse.semi_axes],
                "centre_column_row": [round(place, 2) for place in ellipse.centre],
                "angle_degrees": round(ellipse.angle, 2),
            }
            with replacing(self.folder / f"{case}_circumference.json") as temporary:
                Path(temporary).write_text(json.dumps(found, indent=4) + "\n", encoding="utf-8")
        return item

    def _spacing(self, case: str, label: Any) -> tuple[float, float] | None:
        known = self.pixel_mm or self.table.get(case, {}).get("pixel_mm", 0.0)
        if known:
            return known, known
        sides = affine_to_spacing(label.affine, 2).tolist() if isinstance(label, MetaTensor) else [1.0, 1.0]
        # pictures without a header have sides of 1
        return None if sides == [1.0, 1.0] else (sides[0], sides[1])


class CircumferenceReport(SegmentationReport):
    """Adds the head circumference to the report: mean absolute error and mean error, in millimetres.

    Items hold ``pixel_mm`` and ``head_circumference_mm``; cases without them (NaN) count in the other metrics only. A
    head that was not found counts with a circumference of 0.

    Args:
        output_dir: folder to write to.
        classes: names of the classes, background excluded.
        unit: what the item's ``group`` is, for the text of the interval.
        border: share of the picture's width by which the head's mask is too large on every side.
    """

    def __init__(
        self, output_dir: str | Path, classes: Sequence[str], unit: str = "subjects", border: float = 0.0
    ) -> None:
        super().__init__(output_dir, classes, unit)
        self.border = border

    def _row(self, item: Row, output: Row) -> Row:
        row = super()._row(item, output)
        truth = float(item["head_circumference_mm"])
        found = circumference(output["pred"].argmax(0, keepdim=True), float(item["pixel_mm"]), self.border)
        row |= {"circumference_mm": found, "reference_mm": truth}
        return row | {"circumference_error_mm": abs(found - truth), "circumference_bias_mm": found - truth}

    def _metrics(self) -> dict[str, Metric]:
        names = ("circumference_error_mm", "circumference_bias_mm")
        return super()._metrics() | {name: mean_of([name]) for name in names}
