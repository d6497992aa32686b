"""Bundles whose result is an image: the report of an evaluation, and what inference writes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.config.type_definitions import KeysCollection
from monai.metrics.metric import Cumulative
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from medmamba_monai.collection.degrading import resized_affine
from medmamba_monai.collection.drawing import Picture, draw_panel, save_picture
from medmamba_monai.collection.reports import Columns, Metric, Report, Row, mean_of
from medmamba_monai.collection.savers import replacing
from medmamba_monai.collection.wording import title

__all__ = ["ImageSaverd", "PanelSaverd", "RestorationReport", "rank_correlation"]

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DARK = 0.05  # of the brightest pixel; what is darker is taken as air
Measure = Callable[[Tensor, Tensor], Tensor]


class RestorationReport(Report):
    """Writes how near the results are to the images they should be, and how near plain methods come.

    The output items hold ``pred`` (1, W, H), ``label`` (C, W, H) and ``image``, the network's input; where they hold
    ``uncertainty`` (1, W, H), ``uncertainty_correlation`` is the mean rank correlation of the uncertainty with the
    absolute error, over the pixels of a case that are not air, and ``uncertainty_by_case`` that of their means, over
    the cases. With an item's ``site`` every measure is given by site too.

    Args:
        output_dir: folder to write to.
        measures: MONAI metrics by name, called with (1, 1, W, H) and (1, C, W, H); the first chooses the pictures.
        beside: plain methods by name, from an input (1, C, W, H) to a result; their values stand in ``metrics.json``
            under ``beside``.
        unit: what the item's ``group`` is, for the text of the interval.
        pictures: draw two cases; not where the terms of the data forbid to show them.
    """

    panels: list[tuple[tuple[int, ...], bytes]]

    def __init__(
        self,
        output_dir: str | Path,
        measures: Mapping[str, Measure],
        beside: Mapping[str, Callable[[Tensor], Tensor]],
        unit: str = "subjects",
        pictures: bool = True,
    ) -> None:
        super().__init__(output_dir, (), unit)
        self.measures, self.beside, self.pictures = dict(measures), dict(beside), pictures

    def _begin(self, engine: Engine) -> None:
        super()._begin(engine)
        self.panels = []
        for measure in self.measures.values():
            if isinstance(measure, Cumulative):
                measure.reset()

    def _row(self, item: Row, output: Row) -> Row:
        image, found, label = (torch.as_tensor(output[key]).float()[None] for key in ("image", "pred", "label"))
        row = self._measured(found, label)
        plain = {name: method(image) for name, method in self.beside.items()}
        for name, result in plain.items():
            row |= {f"{measure}, {name}": value for measure, value in self._measured(result, label).items()}
        panel = {**plain, "result": found, **_references(found, label)}
        if "uncertainty" in output:
            uncertainty = torch.as_tensor(output["uncertainty"]).float()[None]
            row |= _uncertainty(uncertainty, (found - label).abs(), label)
            panel |= _magnified("uncertainty", uncertainty)
        if self.pictures:
            picture = draw_panel({text: part[0] for text, part in panel.items()}, scale=1)
            self.panels.append((picture.shape, zlib.compress(picture.tobytes(), 1)))
        return row

    def _measured(self, found: Tensor, label: Tensor) -> Row:
        return {name: float(measure(found, label)) for name, measure in self.measures.items()}

    def _metrics(self) -> dict[str, Metric]:
        found = {name: mean_of([name]) for name in self.measures}
        if "uncertainty_correlation" in self.rows[0]:
            found["uncertainty_correlation"] = mean_of(["uncertainty_correlation"])
            found["uncertainty_by_case"] = _by_case
        return found

    def _beside(self, columns: Columns) -> dict[str, Any]:
        about = {name: self._rows_of(name, columns) for name in self.beside}
        return {"beside": {name: {"metrics": self._intervals(*found)} for name, found in about.items()}}

    def _rows_of(self, method: str, columns: Columns) -> tuple[dict[str, Metric], Columns]:
        """The measures of a plain method, and its columns under the names of the network's."""
        own = {name: columns[f"{name}, {method}"] for name in self.measures}
        return {name: mean_of([name]) for name in self.measures}, columns | own

    def _by_site(self) -> list[str]:
        return list(self.measures)

    def _scores(self, columns: Columns) -> NDArray[np.float64]:
        return columns[next(iter(self.measures))].astype(np.float64)

    def _picture(self, engine: Engine, number: int) -> Picture | None:
        if not self.pictures:
            return None
        shape, packed = self.panels[number]
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)

    def _caption(self, row: Row) -> str:
        return f"{row['case']}, " + ", ".join(f"{title(name)} {row[name]:.3f}" for name in self.measures)


def _references(found: Tensor, label: Tensor) -> dict[str, Tensor]:
    """The target and the error, or the sources of a fusion."""
    if label.shape[1] == 1:
        return {"target": label, **_magnified("error", (found - label).abs())}
    return {f"source {number + 1}": source for number, source in enumerate(label.split(1, 1))}


def _magnified(name: str, part: Tensor) -> dict[str, Tensor]:
    """Small numbers made visible, with the factor in the caption."""
    high = float(torch.quantile(part.flatten(), 0.995))
    factor = max(1, int(1 / high)) if high > 0 else 1
    return {f"{name} x {factor}": factor * part}


def _uncertainty(uncertainty: Tensor, error: Tensor, label: Tensor) -> Row:
    inside = (label > DARK * label.max()).flatten().numpy()
    doubt, wrong = (part.flatten().numpy()[inside].astype(np.float64) for part in (uncertainty, error))
    row = {"uncertainty_correlation": rank_correlation(doubt, wrong)}
    return row | {"mean_uncertainty": float(doubt.mean()), "mean_error": float(wrong.mean())}


def _by_case(columns: Columns) -> float:
    return rank_correlation(columns["mean_uncertainty"], columns["mean_error"])


def rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; NaN where one of both does not vary.

    Args:
        one: numbers.
        other: as many numbers.

    Example:
        >>> round(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 90.0])), 6)
        1.0
    """
    from scipy.stats import spearmanr

    if not np.ptp(one) or not np.ptp(other):
        return float("nan")
    return float(spearmanr(one, other).statistic)


class ImageSaverd(MapTransform):
    """Writes images in the format family of the input: a PNG file for a picture, else NIfTI with the input's geometry.

    Pictures are stored in 8 bits where the input has no more than 256 levels, else in 16.

    Args:
        keys: keys of images (1, W, H) or (3, W, H), in intensities of the input.
        output_dir: folder to write to.
        postfix: the file is ``<case>_<postfix>.png`` or ``.nii.gz``; one word a key, or one for all.
        image_key: key of the input, for file name, size and affine.
        exact: always NIfTI, for numbers that grey levels would round.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        postfix: str = "restored",
        image_key: str = "image",
        exact: bool = False,
    ) -> None:
        super().__init__(keys)
        self.folder, self.postfix, self.image_key, self.exact = Path(output_dir), postfix, image_key, exact

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        source = item[self.image_key]
        name = str(getattr(source, "meta", {}).get("filename_or_obj", ""))
        for key in self.key_iterator(item):
            stem = self.folder / f"{item['case']}_{self.postfix}"
            if name.lower().endswith(PICTURES) and not self.exact:
                _save_picture(item[key], stem.with_name(f"{stem.name}.png"))
            else:
                _save_volume(item[key], source, stem.with_name(f"{stem.name}.nii.gz"))
        return item


def _save_picture(image: Tensor, file: Path) -> None:
    from PIL import Image

    levels = np.asarray(image.cpu(), dtype=np.float32).T.round().squeeze()
    many = levels.max() > 300 and levels.ndim == 2  # a little above 255 is an overshoot
    stored = levels.clip(0, 65535 if many else 255).astype(np.uint16 if many else np.uint8)
    with replacing(file) as temporary:
        Image.fromarray(stored).save(temporary, format="PNG")


def _save_volume(image: Tensor, source: Any, file: Path) -> None:
    import nibabel as nib

    affine = source.affine if hasattr(source, "affine") else torch.eye(4)
    affine = resized_affine(torch.as_tensor(affine), source.shape[1:], image.shape[1:])
    array = np.asarray(image.cpu(), dtype=np.float32)
    # channels, where there are several, come last, behind the axis across slices
    plain = array[0][..., None] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)[:, :, None]
    with replacing(file) as temporary:
        nib.save(nib.Nifti1Image(plain, affine.cpu().numpy()), temporary)


class PanelSaverd(MapTransform):
    """Draws images beside one another into ``<case>_panel.png``, with the brightest of the first one in white.

    Args:
        keys: keys of images (1, W, H) or (3, W, H); the last is magnified where it is called ``uncertainty``.
        output_dir: folder to write to.
        captions: what to write above each.
    """

    def __init__(self, keys: KeysCollection, output_dir: str | Path, captions: list[str]) -> None:
        super().__init__(keys)
        self.folder, self.captions = Path(output_dir), captions

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        white = float(item[self.first_key(item)].max()) or 1.0
        panel: dict[str, Tensor] = {}
        for key, caption in zip(self.key_iterator(item), self.captions, strict=True):
            image = torch.as_tensor(item[key]).float() / white
            panel |= _magnified(caption, image) if key == "uncertainty" else {caption: image}
        save_picture(draw_panel(panel), self.folder / f"{item['case']}_panel.png")
        return item
