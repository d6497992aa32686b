"""Pictures of results as arrays (rows, columns, 3): outlines on images and planes of volumes, bars of probabilities."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms.spatial.array import Orientation
from numpy.typing import NDArray
from torch import Tensor

from medmamba_monai.collection.savers import replacing

__all__ = [
    "COLOURS",
    "Picture",
    "beside",
    "captioned",
    "draw_chances",
    "draw_contours",
    "draw_outlines",
    "draw_panel",
    "save_picture",
    "stacked",
]

COLOURS = ((230, 60, 50), (40, 190, 220), (240, 200, 40), (90, 200, 90), (200, 100, 220))
SIZE = 256  # picture elements along the longest axis of a small image, about
GAP = 6
Picture = NDArray[np.uint8]


def draw_contours(image: NDArray[Any], label: NDArray[Any], scale: int | Sequence[int] = 1) -> Picture:
    """Returns an enlarged picture with the outlines of a label map in colour.

    Args:
        image: grey picture (rows, columns) or colour picture (rows, columns, 3).
        label: class or instance numbers (rows, columns).
        scale: picture elements a pixel; two numbers for rows and columns.

    Example:
        >>> draw_contours(np.zeros((4, 5)), np.ones((4, 5)), 3).shape
        (12, 15, 3)
    """
    rows, columns = (scale, scale) if isinstance(scale, int) else scale
    low, high = np.percentile(image, [0.5, 99.5])
    stretched = (np.clip((image - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)
    colour = stretched if stretched.ndim == 3 else np.stack([stretched] * 3, -1)
    picture = colour.repeat(rows, 0).repeat(columns, 1)
    large = np.asarray(label).astype(np.int64).repeat(rows, 0).repeat(columns, 1)
    border = (large > 0) & np.any([large != neighbour for neighbour in _neighbours(large)], axis=0)
    if image.ndim == 3:
        # A line of any colour may be lost on tissue of the same one: a dark rim sets it off.
        picture[np.any(_neighbours(border), axis=0)] = 0
    picture[border] = np.array(COLOURS, np.uint8)[(large[border] - 1) % len(COLOURS)]
    return picture


def _neighbours(x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    around = np.pad(x, 1)
    return around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]


def draw_outlines(image: Tensor, labels: Mapping[str, Tensor], scale: int | None = None) -> Picture:
    """Draws the outlines of one or more label maps on their image.

    Pictures stand beside one another. Volumes with an affine are turned to RAS first; each is a row of three planes
    through the largest parts of the last label map, stretched where voxels are longer along one axis.

    Args:
        image: picture (C, W, H) or volume (C, W, H, D); a picture of three channels is shown in colour.
        labels: caption of each label map (1, *S) on the grid of the image; an empty caption is not written.
        scale: picture elements a voxel; chosen by the size of the image when left out.

    Example:
        >>> label = torch.ones(1, 40, 30)
        >>> draw_outlines(torch.rand(3, 40, 30), {"prediction": label, "reference": label}, scale=2).shape
        (76, 172, 3)
    """
    if image.ndim == 4:
        return _draw_planes(image, labels, scale)
    array = np.asarray(image.cpu()).astype(np.float32)
    flat = array.transpose(2, 1, 0) if array.shape[0] == 3 else array[0].T
    factor = scale or max(1, round(SIZE / max(flat.shape[:2])))
    return beside(
        [captioned(draw_contours(flat, np.asarray(label.cpu())[0].T, factor), text) for text, label in labels.items()]
    )


def _draw_planes(image: Tensor, labels: Mapping[str, Tensor], scale: int | None) -> Picture:
    turn = Orientation(axcodes="RAS", labels=None)
    turned: Any = turn(image)
    volume = np.asarray(turned.cpu())[0]
    maps = {text: np.asarray(turn(label).cpu())[0] for text, label in labels.items()}
    affine = torch.as_tensor(turned.affine, dtype=torch.float64).numpy()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    steps = spacing / spacing.min()
    factor = scale or max(1, round(SIZE / float((steps * volume.shape).max())))
    enlarged = [max(1, round(factor * step)) for step in steps]
    places = [_place(list(maps.values())[-1], axis) for axis in range(3)]
    rows = []
    for text, label in maps.items():
        planes = []
        for axis, place in enumerate(places):
            across, up = (i for i in range(3) if i != axis)
            # the second axis of a plane points up in a picture, whose rows run down
            cut = [np.take(array, place, axis=axis).T[::-1] for array in (volume, label)]
            planes.append(draw_contours(cut[0], cut[1], (enlarged[up], enlarged[across])))
        rows.append(captioned(beside(planes), text))
    return stacked(rows)


def _place(label: NDArray[Any], axis: int) -> int:
    inside = (label > 0).sum(axis=tuple(i for i in range(3) if i != axis))
    return int(inside.argmax()) if inside.any() else label.shape[axis] // 2


def draw_chances(image: Tensor, chances: Mapping[str, float], truth: str | None = None) -> Picture:
    """Draws an image with the probabilities of its classes as bars below it.

    Args:
        image: picture (C, W, H), of one or three channels; of a volume (C, W, H, D) the middle plane of the first
            channel is shown.
        chances: probability of each class.
        truth: the true class, written above the image when given.

    Example:
        >>> draw_chances(torch.rand(1, 8, 8), {"cat": 0.2, "dog": 0.8}).shape
        (364, 320, 3)
    """
    from PIL import Image, ImageDraw

    array = np.asarray(image.cpu()).astype(np.float32)
    array = array[:1, ..., array.shape[-1] // 2] if array.ndim == 4 else array
    flat = array.transpose(2, 1, 0) if array.shape[0] == 3 else array[0].T
    panel = Image.new("RGB", (320, 320 + 22 * len(chances)))
    panel.paste(Image.fromarray(draw_contours(flat, np.zeros(flat.shape[:2]))).resize((320, 320)))
    brush = ImageDraw.Draw(panel)
    texts = [f"{name} {chance:.2f}" for name, chance in chances.items()]
    left = max(100, 10 + round(max(brush.textlength(text) for text in texts)))
    for row, (text, chance) in enumerate(zip(texts, chances.values(), strict=True)):
        top = 322 + 22 * row
        width = round((312 - left) * chance)
        brush.rectangle((left, top + 2, left + width, top + 16), fill=COLOURS[row % len(COLOURS)])
        brush.text((4, top + 2), text, fill=(255, 255, 255))
    return captioned(np.asarray(panel), "" if truth is None else f"truth: {truth}")


def draw_panel(images: Mapping[str, Tensor], scale: int | None = None) -> Picture:
    """Puts images beside one another, each with its caption; smaller ones are enlarged to the size of the largest.

    Args:
        images: caption of each picture (1, W, H) or (3, W, H), 0 is black and 1 is white.
        scale: picture elements a pixel of the largest; chosen by its size when left out.

    Example:
        >>> draw_panel({"input": torch.rand(1, 4, 4), "result": torch.rand(1, 8, 8)}, scale=2).shape
        (32, 44, 3)
    """
    arrays = {text: np.asarray(image.detach().cpu(), dtype=np.float32).T for text, image in images.items()}
    size = [max(array.shape[axis] for array in arrays.values()) for axis in (0, 1)]
    factor = scale or max(1, round(SIZE / max(size)))
    drawn = []
    for text, array in arrays.items():
        levels = (np.clip(np.nan_to_num(array), 0, 1) * 255).round().astype(np.uint8)
        rows, columns = (
            np.arange(factor * whole) * n // (factor * whole) for whole, n in zip(size, array.shape[:2], strict=True)
        )
        large = levels[rows][:, columns]
        drawn.append(captioned(large.repeat(3, -1) if large.shape[-1] == 1 else large, text))
    return beside(drawn)


def beside(pictures: Sequence[Picture]) -> Picture:
    """Puts pictures side by side, each with a black margin on its right.

    Args:
        pictures: at least one picture.
    """
    height = max(picture.shape[0] for picture in pictures)
    parts = [np.pad(picture, ((0, height - picture.shape[0]), (0, GAP), (0, 0))) for picture in pictures]
    return np.concatenate(parts, axis=1)


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Puts pictures under one another.

    Args:
        pictures: at least one picture.
    """
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0))) for p in pictures], axis=0)


def captioned(picture: Picture, caption: str) -> Picture:
    """Writes a line above a picture, and leaves it as it is when there is nothing to write.

    Args:
        picture: picture to put the line on.
        caption: a few words.
    """
    from PIL import Image, ImageDraw

    if not caption:
        return picture
    line = Image.new("RGB", (picture.shape[1], 16))
    ImageDraw.Draw(line).text((4, 2), caption, fill=(255, 255, 255))
    return stacked([np.asarray(line), picture])


def save_picture(picture: Picture, path: str | os.PathLike[str]) -> None:
    """Writes a PNG file, whole or not at all.

    Args:
        picture: (rows, columns, 3).
        path: file to write.
    """
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)
