"""Small data for bundles that read more than one file of a case, and the options that name such files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

HEARTS = "acdc_mr_classification"
# what inference writes for each case
WRITTEN = {"registration": "_displacement.nii.gz", "dose": "_dose.nii.gz"}


def paired(split: dict, counts: dict[str, int]) -> dict[str, list[str]]:
    """Some cases of each section that make pairs: of the list of pairs, or far apart, so of different persons."""
    pairs: dict[str, list[list[str]]] = split.get("pairs", {})
    if pairs:
        return {section: sum(pairs[section][: count // 2], []) for section, count in counts.items()}
    return {section: split[section][::5][:count] for section, count in counts.items()}


def save(array: np.ndarray, file: Path, voxel: Iterable[float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*voxel, 1.0])), file)


def write_hearts(folder: Path, cases: Iterable[str]) -> None:
    """Two phases of each patient: a box that is smaller in the second."""
    rng = np.random.default_rng(0)
    for case in cases:
        for phase, width in (("ED", 20), ("ES", 12)):
            label = np.zeros((100, 98, 7), np.uint8)
            for part in (1, 2, 3):
                label[20 * part : 20 * part + width, 40:60, 1:6] = part
            image = (50 * label + rng.integers(0, 40, label.shape)).astype(np.float32)
            for name, array in (("images", image), ("labels", label)):
                save(array, folder / name / f"{case}_{phase}.nii.gz", (1.5, 1.5, 10.0))


def write_plans(folder: Path, cases: Iterable[str]) -> None:
    """A body with five organs and three targets, and a dose that follows the targets."""
    for case in cases:
        organs, targets = np.zeros((40, 36, 12), np.uint8), np.zeros((40, 36, 12), np.uint8)
        for organ in range(1, 6):
            organs[6 * organ : 6 * organ + 4, 6:12, 2:10] = organ
        for target in range(1, 4):
            targets[10 * target : 10 * target + 6, 18:30, 2:10] = target
        ct = np.full(organs.shape, -1000, np.float32)
        ct[2:38, 2:34] = 40
        parts = {"images": ct, "labels": organs, "ptv": targets, "dose": (49.0 + 7 * targets) * (ct > 0)}
        for name, array in parts.items():
            save(array.astype(np.float32), folder / name / f"{case}.nii.gz", (4.0, 4.0, 4.0))


def first_input(data: Path, name: str) -> dict[str, Path]:
    """The options that name the first case of a data set."""
    files = sorted((data / "images").iterdir())
    if name.endswith("registration"):
        return {"fixed": files[0], "moving": files[1]}
    if HEARTS in name:
        return {"image": files[0], "second": files[1]}
    folders = {"image": "images", "second": "second"}
    folders |= {"organs": "labels", "targets": "ptv"} if name.endswith("dose") else {}
    return {option: sorted((data / part).iterdir())[0] for option, part in folders.items() if (data / part).is_dir()}


def first_two(data: Path, name: str, folder: Path) -> tuple[Path, int]:
    """Copies two files of each part that inference reads; returns what to give as dataset_dir, and how many cases."""
    if name.endswith("registration"):
        fixed, moving = first_input(data, name).values()
        (folder / "pairs.csv").write_text(f"fixed,moving\n{fixed},{moving}\n", encoding="utf-8")
        return folder / "pairs.csv", 1
    for part in ("images", "second", *(("labels", "ptv") if name.endswith("dose") else ())):
        if (data / part).is_dir():
            (folder / part).mkdir()
            for file in sorted((data / part).iterdir())[:2]:
                shutil.copy(file, folder / part)
    alone = [path.name for path in folder.iterdir() if path.is_dir() and path.name != "elsewhere"] == ["images"]
    return folder / "images" if alone else folder, 1 if HEARTS in name else 2


def faulty_input(image: Path, name: str) -> dict[str, Path]:
    """The options that name one file for all that inference reads."""
    options = {"registration": ("fixed", "moving"), "dose": ("image", "organs", "targets")}
    return dict.fromkeys(options.get(name.rpartition("_")[2], ("image",)), image)
