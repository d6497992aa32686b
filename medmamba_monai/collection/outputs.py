"""What inference leaves beside the prediction: volumes in millilitres, tables of probabilities, pictures."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import Orientation
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray

from medmamba_monai.collection.savers import replacing

__all__ = ["OverlaySaverd", "ProbabilityWriter", "VolumeReportd", "draw_contours"]

COLOURS = ((230, 60, 50), (40, 190, 220), (240, 200, 40), (90, 200, 90), (200, 100, 220))


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
    """Draws the outlines of a segmentation on its image, as three planes through the largest parts, in one PNG.

    Args:
        keys: keys of label maps (1, W, H, D).
        image_key: key of the image on the same grid.
        output_dir: folder for ``<case>_overlay.png``.
        scale: picture elements a voxel.
    """

    def __init__(self, keys: KeysCollection, image_key: str, output_dir: str | Path, scale: int = 5) -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.folder = Path(output_dir)
        self.scale = scale

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        turn = Orientation(axcodes="RAS", labels=None)
        for key in self.key_iterator(item):
            image, label = (np.asarray(turn(item[name]).cpu())[0] for name in (self.image_key, key))
            planes = [_plane(image, label, axis, self.scale) for axis in range(3)]
            save_picture(_beside(planes), self.folder / f"{item['case']}_overlay.png")
        return item


def _plane(image: NDArray[Any], label: NDArray[Any], axis: int, scale: int) -> NDArray[np.uint8]:
    inside = (label > 0).sum(axis=tuple(i for i in range(3) if i != axis))
    place = int(inside.argmax()) if inside.any() else label.shape[axis] // 2
    # the second axis of a plane points up in a picture, whose rows run down
    cut = [np.take(volume, place, axis=axis).T[::-1] for volume in (image, label)]
    return draw_contours(cut[0], cut[1], scale)


def draw_contours(image: NDArray[Any], label: NDArray[Any], scale: int) -> NDArray[np.uint8]:
    """Returns an enlarged grey picture with the outlines of a label map in colour.

    Args:
        image: picture (rows, columns).
        label: class numbers of the same shape.
        scale: picture elements a pixel.

    Example:
        >>> draw_contours(np.zeros((4, 5)), np.ones((4, 5)), 3).shape
        (12, 15, 3)
    """
    low, high = np.percentile(image, [0.5, 99.5])
    grey = (np.clip((image - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)
    picture = np.repeat(np.repeat(np.stack([grey] * 3, -1), scale, 0), scale, 1)
    large = np.repeat(np.repeat(label, scale, 0), scale, 1)
    for number in range(1, int(label.max()) + 1):
        inside = np.pad(large == number, 1)
        core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        picture[inside[1:-1, 1:-1] & ~core] = COLOURS[(number - 1) % len(COLOURS)]
    return picture


def _beside(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(picture.shape[0] for picture in pictures)
    parts = [np.pad(picture, ((0, height - picture.shape[0]), (0, 6), (0, 0))) for picture in pictures]
    return np.concatenate(parts, axis=1)


def save_picture(picture: NDArray[np.uint8], path: str | os.PathLike[str]) -> None:
    """Writes a PNG file, whole or not at all.

    Args:
        picture: (rows, columns, 3).
        path: file to write.
    """
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


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
                self._draw(item, chances)

    def _write(self, engine: Engine) -> None:
        with (
            replacing(self.folder / "predictions.csv") as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, ["case", "predicted", *self.classes])
            writer.writeheader()
            writer.writerows(self.rows)

    def _draw(self, item: Mapping[str, Any], chances: list[float]) -> None:
        from PIL import Image, ImageDraw

        image = np.asarray(item["image"].cpu())[0].T
        picture = Image.fromarray(draw_contours(image, np.zeros(image.shape), 1)).resize((320, 320))
        panel = Image.new("RGB", (320, 320 + 22 * len(chances)))
        panel.paste(picture)
        brush = ImageDraw.Draw(panel)
        for row, (name, chance) in enumerate(zip(self.classes, chances, strict=True)):
            top = 322 + 22 * row
            brush.rectangle((100, top + 2, 100 + round(200 * chance), top + 16), fill=COLOURS[row % len(COLOURS)])
            brush.text((4, top + 2), f"{name} {chance:.2f}", fill=(255, 255, 255))
        save_picture(np.asarray(panel), self.folder / f"{item['case']}_overlay.png")
