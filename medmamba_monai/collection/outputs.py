"""What inference leaves beside the prediction: volumes in millilitres, tables of probabilities, pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform

from medmamba_monai.collection.drawing import draw_chances, draw_outlines, save_picture
from medmamba_monai.collection.savers import replacing

__all__ = ["LabelPictureSaverd", "ObjectReportd", "OverlaySaverd", "ProbabilityWriter", "VolumeReportd"]


class VolumeReportd(MapTransform):
    """Prints the volume of every class in millilitres and writes it beside the segmentation.

    Args:
        keys: keys of label maps (1, *S) with the affine of the image.
        names: names of the classes 1, 2, ...
        output_dir: folder for ``<case>_volumes.json``.

    Example:
        >>> import tempfile
        >>> report = VolumeReportd("pred", ["lesion"], tempfile.mkdtemp())
        >>> _ = report({"pred": MetaTensor(torch.ones(1, 10, 10, 10)), "case": "a"})
        a: lesion 1.000 ml, total 1.000 ml
    """

    def __init__(self, keys: KeysCollection, names: Sequence[str], output_dir: str | Path) -> None:
        super().__init__(keys)
        self.names = tuple(names)
        self.folder = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            found = volumes(item[key], self.names)
            found["total"] = sum(found.values())
            print(
                f"{item['case']}: " + ", ".join(f"{name} {number:.3f} ml" for name, number in found.items()), flush=True
            )
            with replacing(self.folder / f"{item['case']}_volumes.json") as temporary:
                Path(temporary).write_text(json.dumps({"unit": "ml", **found}, indent=4) + "\n", encoding="utf-8")
        return item


def volumes(label: MetaTensor, names: Sequence[str]) -> dict[str, float]:
    """Returns the volume of each class in millilitres.

    Args:
        label: label map (1, *S) with an affine in millimetres.
        names: names of the classes 1, 2, ...
    """
    voxel = abs(float(torch.linalg.det(torch.as_tensor(label.affine, dtype=torch.float64)[:3, :3]))) / 1000
    return {name: int((label == number).sum()) * voxel for number, name in enumerate(names, start=1)}


class OverlaySaverd(MapTransform):
    """Draws the outlines of a segmentation on its image, a picture or three planes of a volume, into one PNG.

    Args:
        keys: keys of label maps (1, *S), of classes or instances.
        image_key: key of the image (C, *S) on the same grid, a picture or a volume.
        output_dir: folder for ``<case>_overlay.png``.
        scale: picture elements a voxel; chosen by the size of the image when left out.
    """

    def __init__(self, keys: KeysCollection, image_key: str, output_dir: str | Path, scale: int | None = None) -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.folder = Path(output_dir)
        self.scale = scale

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            picture = draw_outlines(item[self.image_key], {"": item[key]}, self.scale)
            save_picture(picture, self.folder / f"{item['case']}_overlay.png")
        return item


class LabelPictureSaverd(MapTransform):
    """Writes label maps of pictures as grey PNG files ``<case>_seg.png`` of the picture's size.

    The numbers are stored as they are: 8 bits where they suffice, otherwise 16.

    Args:
        keys: keys of label maps (1, W, H), of classes or instances.
        output_dir: folder to write to.
    """

    def __init__(self, keys: KeysCollection, output_dir: str | Path) -> None:
        super().__init__(keys)
        self.folder = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        from PIL import Image

        item = dict(data)
        for key in self.key_iterator(item):
            numbers = np.asarray(item[key].cpu())[0].T
            stored = numbers.astype(np.uint8 if numbers.max() < 256 else np.uint16)
            with replacing(self.folder / f"{item['case']}_seg.png") as temporary:
                Image.fromarray(stored).save(temporary, format="PNG")
        return item


class ObjectReportd(MapTransform):
    """Prints the number of objects and writes ``<case>_objects.csv``: pixels and middle (column, row) of each.

    Args:
        keys: keys of instance maps (1, W, H), numbered 1, 2, ...
        output_dir: folder to write to.

    Example:
        >>> import tempfile
        >>> report = ObjectReportd("pred", tempfile.mkdtemp())
        >>> _ = report({"pred": torch.tensor([[[1, 1, 0], [0, 0, 2]]]), "case": "a"})
        a: 2 objects, median 1.5 pixels
    """

    def __init__(self, keys: KeysCollection, output_dir: str | Path) -> None:
        super().__init__(keys)
        self.folder = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            objects = np.asarray(item[key].cpu())[0].astype(np.int64)
            sizes = np.bincount(objects.ravel())
            sums = [np.bincount(objects.ravel(), weights=place.ravel()) for place in np.indices(objects.shape)]
            rows = [(n, int(sizes[n]), *(round(axis[n] / sizes[n], 1) for axis in sums)) for n in range(1, len(sizes))]
            middle = f", median {np.median(sizes[1:]):g} pixels" if rows else ""
            print(f"{item['case']}: {len(rows)} objects{middle}", flush=True)
            with (
                replacing(self.folder / f"{item['case']}_objects.csv") as temporary,
                open(temporary, "w", newline="", encoding="utf-8") as stream,
            ):
                writer = csv.writer(stream)
                writer.writerow(("object", "pixels", "column", "row"))
                writer.writerows(rows)
        return item


class ProbabilityWriter:
    """Writes the probabilities of every image to ``predictions.csv`` and prints the likeliest class.

    Args:
        output_dir: folder to write to.
        classes: names of the classes, in the order of the network's outputs.
        overlay: also write ``<case>_overlay.png``, the image with its probabilities as bars.
    """

    def __init__(self, output_dir: str | Path, classes: Sequence[str], overlay: bool = False) -> None:
        self.folder = Path(output_dir)
        self.classes = tuple(classes)
        self.overlay = overlay
        self.rows: list[dict[str, Any]] = []

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
            chances = [float(number) for number in output["pred"]]
            named = dict(zip(self.classes, chances, strict=True))
            best = self.classes[int(np.argmax(chances))]
            print(f"{item['case']}: {best} (" + ", ".join(f"{n} {c:.3f}" for n, c in named.items()) + ")", flush=True)
            self.rows.append({"case": item["case"], "predicted": best, **named})
            if self.overlay:
                save_picture(draw_chances(item["image"], named), self.folder / f"{item['case']}_overlay.png")

    def _write(self, engine: Engine) -> None:
        with (
            replacing(self.folder / "predictions.csv") as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, ["case", "predicted", *self.classes])
            writer.writeheader()
            writer.writerows(self.rows)
