"""Small data sets in the known layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

Maker = Callable[..., Path]


def volume(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 2.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


def arrays(case: int, size: tuple[int, ...] = (20, 24, 16)) -> tuple[np.ndarray, np.ndarray]:
    """An image and a label of two boxes."""
    rng = np.random.default_rng(case)
    label = np.zeros(size, np.uint8)
    label[4:9, 5:12, 3:12] = 1
    label[11:15, 5:12, 3 : 10 + case % 3] = 2
    return (50 * label + 10 * rng.normal(size=size) + 100).astype(np.float32), label


def decathlon(root: Path, cases: int = 6) -> Path:
    listed = []
    for case in range(cases):
        image, label = arrays(case)
        volume(root / "imagesTr" / f"case_{case}.nii.gz", image)
        volume(root / "labelsTr" / f"case_{case}.nii.gz", label)
        listed.append({"image": f"./imagesTr/case_{case}.nii.gz", "label": f"./labelsTr/case_{case}.nii.gz"})
    about = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "front", "2": "back"}, "training": listed}
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def nnunet(root: Path, cases: int = 5) -> Path:
    for case in range(cases):
        image, label = arrays(case)
        volume(root / "imagesTr" / f"c{case}_0000.nii.gz", image)
        volume(root / "imagesTr" / f"c{case}_0001.nii.gz", image * 2 + 3)
        volume(root / "labelsTr" / f"c{case}.nii.gz", label)
    about = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "front": 1, "back": 2}}
    about |= {"numTraining": cases, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def datalist(root: Path, cases: int = 4) -> Path:
    decathlon(root, cases)
    about = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").unlink()
    listed = [{**entry, "fold": place % 2, "group": f"g{place // 2}"} for place, entry in enumerate(about["training"])]
    (root / "list.json").write_text(json.dumps({"training": listed}))
    return root / "list.json"


def pictures(root: Path, cases: int = 8) -> Path:
    """Colour pictures with a square, labels of 0 and 255, and a split list with two test cases."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for case in range(cases):
        label = np.zeros((48, 64), np.uint8)
        label[10:30, 10 + 2 * case : 40] = 255
        picture = (rng.integers(1, 90, (48, 64, 3)) + (label[..., None] > 0) * 120).astype(np.uint8)
        Image.fromarray(picture).save(root / "images" / f"p{case}.png")
        Image.fromarray(label).save(root / "masks" / f"p{case}.png")
    names = [f"p{case}" for case in range(cases)]
    split = {"train": names[:-3], "val": names[-3:-2], "test": names[-2:]}
    (root / "splits.json").write_text(json.dumps({**split, "groups": {"p0": "twins", "p1": "twins"}}))
    return root


MAKERS: dict[str, Maker] = {"decathlon": decathlon, "nnunet": nnunet, "datalist": datalist, "plain": pictures}


@pytest.fixture()
def make(tmp_path: Path) -> Callable[..., Path]:
    """Make a small data set in one of the layouts."""

    def made(layout: str, **options: int) -> Path:
        (tmp_path / "data" / layout).mkdir(parents=True)
        return MAKERS[layout](tmp_path / "data" / layout, **options)

    return made
