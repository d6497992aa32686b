"""Made-up images and labels in the form that a bundle reads: enough to build and run it, never to judge it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medmamba_monai.collection.bundles import Bundle

__all__ = ["made_up_items"]

Item = dict[str, Any]


def made_up_items(bundle: Bundle, folder: str | Path, count: int) -> list[Item]:
    """Writes noisy images with one box a class, and labels where the bundle segments.

    Args:
        bundle: the bundle that shall read them.
        folder: folder to write ``images`` and ``labels`` to.
        count: number of cases; classes take turns.

    Returns:
        A datalist with ``image``, ``label`` (a file, or the number of a class), ``case`` and ``group``, and ``second``
        where the bundle reads two files. Those of a registration hold ``fixed``, ``moving`` and ``carried`` in place of
        ``image``; those of a dose ``ptv`` and ``dose`` too.
    """
    folder = Path(folder)
    channels, size = bundle.image_channels, bundle.input_shape[1:]
    # a pair is two files of one channel
    channels = channels // 2 if bundle.kind == "registration" else channels
    classes = len(bundle.metadata["network_data_format"]["outputs"]["pred"]["channel_def"])
    classes = len(bundle.classes) + 1 if bundle.kind == "registration" else classes
    volume = bundle.metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"] != []
    rng = np.random.default_rng(0)
    items: list[Item] = []
    for number in range(count):
        label = _boxes(tuple(size), classes - 1)
        image = 60 * label[..., None] + rng.integers(0, 60, (*size, channels))
        stem = f"case{number}"
        picture = _save(folder / "images" / stem, image.clip(0, 255), _voxel(bundle))
        item: Item = {"image": picture, "case": stem, "group": stem}
        item["label"] = _save(folder / "labels" / stem, label, _voxel(bundle)) if volume else number % classes
        if "second" in bundle.config("inference"):
            item["second"] = _save(folder / "second" / stem, 255 - image, _voxel(bundle))
        items.append(_plans(item, folder, [*size, 8]) if bundle.kind == "dose" else item)
    return _pairs(items) if bundle.kind == "registration" else items


def _pairs(items: list[Item]) -> list[Item]:
    """Each item as the fixed one of a pair with the one before it."""
    return [
        {"fixed": item["image"], "moving": items[number - 1]["image"], "carried": items[number - 1]["label"]}
        | {key: item[key] for key in ("label", "case", "group")}
        for number, item in enumerate(items)
    ]


def _plans(item: Item, folder: Path, size: list[int]) -> Item:
    """The item of a patient with CT, organs, targets and dose."""
    stem, voxel = str(item["case"]), [4.0, 4.0, 4.0]
    organs, targets = _boxes(tuple(size), 5), _boxes(tuple(size), 3)
    parts = {"image": 60 + 40 * (targets > 0), "label": organs, "ptv": targets, "dose": 50 + 20 * targets}
    return item | {key: _save(folder / key / stem, part, voxel) for key, part in parts.items()}


def _boxes(size: tuple[int, ...], count: int) -> np.ndarray:
    label = np.zeros(size, np.uint8)
    middle = tuple(slice(n // 4, max(n // 4 + 1, 3 * n // 4)) for n in size[1:])
    for number, place in enumerate(np.linspace(0, size[0], count + 2)[1:-1].astype(int), start=1):
        label[(slice(place - 2, place + 3), *middle)] = number
    return label


def _voxel(bundle: Bundle) -> list[float]:
    """Spacing that the bundle resamples to, so that its input keeps the size of the made-up image."""
    for step in _steps(bundle.config("inference").get("preprocessing", {})):
        if str(step.get("_target_", "")).endswith("Spacingd"):
            # MONAI's own step, or that of planned bundles
            spacing = step.get("pixdim") or step["spacing"]
            spacing = bundle.config("inference")["spacing"] if isinstance(spacing, str) else spacing
            return [float(value) if value > 0 else 1.0 for value in spacing]
    return [1.0, 1.0, 1.0]


def _steps(preprocessing: dict[str, Any]) -> Iterator[dict[str, Any]]:
    transforms = preprocessing.get("transforms", [])
    yield from (step for step in transforms if isinstance(step, dict)) if isinstance(transforms, list) else ()


def _save(stem: Path, array: np.ndarray, voxel: list[float]) -> str:
    import nibabel as nib
    from PIL import Image

    stem.parent.mkdir(parents=True, exist_ok=True)
    array = np.squeeze(array).astype(np.uint8)
    if array.ndim == 4 or (array.ndim == 3 and array.shape[-1] > 4):
        file = stem.with_name(f"{stem.name}.nii.gz")
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.diag([*voxel, 1.0])), file)
    else:
        file = stem.with_name(f"{stem.name}.png")
        Image.fromarray(array).save(file)
    return str(file)
