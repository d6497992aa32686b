"""OpenKBP with doses: CT, organs, targets and planned dose of head-and-neck patients (MIT; images from TCIA)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import Item, file_stem, open_folder, stems
from medmamba_monai.collection.datasets.head_neck import (
    SIDE,
    VOLUME_SUFFIXES,
    head_neck,
    read_table,
    volumes_from_tables,
)

TARGETS = ("PTV56", "PTV63", "PTV70")
PARTS = ("ptv", "dose")


def planned_doses(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the patients of one section with CT (``image``), organs (``label``), targets (``ptv``) and ``dose``.

    Reads ``images/``, ``labels/``, ``ptv/`` (1 PTV56, 2 PTV63, 3 PTV70) and ``dose/``: Gray, or bytes that hold
    Gray / 0.64.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: as :func:`head_neck`, and when a patient has no targets or no dose.
    """
    root, items = open_folder(dataset_dir, "dataset_dir"), head_neck(dataset_dir, section, split_file)
    for part in PARTS:
        files = stems(root / part, VOLUME_SUFFIXES) if (root / part).is_dir() else {}
        for item in items:
            if item["case"] not in files:
                raise InputError(
                    f"{str(dataset_dir)!r} has no {part}/{item['case']}: "
                    "run python -m medmamba_monai prepare planned_doses DOWNLOAD DEST first"
                )
            item[part] = str(files[str(item["case"])])
    return items


def doses_from_tables(download: Path, dest: Path, cases: set[str]) -> bool:
    """Turns the publisher's tables into volumes: those of :func:`volumes_from_tables`, the targets and the dose.

    Args:
        download: any folder above the patients' folders, such as ``provided-data``.
        dest: folder for ``images/``, ``labels/``, ``ptv/`` and ``dose/``.
        cases: the cases that are wanted.

    Returns:
        False when the download has another layout.

    Raises:
        InputError: when a patient has no dose.
    """
    import nibabel

    if not volumes_from_tables(download, dest, cases):
        return False
    for patient in sorted(file.parent for file in download.rglob("pt_*/ct.csv") if file.parent.name in cases):
        if not (patient / "dose.csv").is_file():
            raise InputError(f"{patient} has no dose.csv: download it again")
        targets, dose = np.zeros(SIDE**3, np.uint8), np.zeros(SIDE**3, np.float32)
        for number, name in enumerate(TARGETS, start=1):
            # not every patient has all three
            if (patient / f"{name}.csv").is_file():
                targets[read_table(patient / f"{name}.csv")[0]] = number
        places, values = read_table(patient / "dose.csv")
        dose[places] = values
        affine = nibabel.load(dest / "images" / f"{patient.name}.nii.gz").affine
        volumes: dict[str, NDArray[Any]] = dict(zip(PARTS, (targets, dose), strict=True))
        for part, volume in volumes.items():
            (dest / part).mkdir(exist_ok=True)
            image = nibabel.Nifti1Image(volume.reshape(SIDE, SIDE, SIDE), affine)
            nibabel.save(image, dest / part / f"{patient.name}.nii.gz")
    return True


def input_plans(image: str | Path, organs: str | Path, targets: str | Path, dataset_dir: str | Path) -> list[Item]:
    """Lists the patients whose dose inference shall predict.

    Args:
        image: CT; empty to read ``dataset_dir``.
        organs: label map of the organs.
        targets: label map of the targets.
        dataset_dir: folder with ``images/``, ``labels/`` and ``ptv/``, files of one patient named alike.

    Raises:
        InputError: when a file is missing, or nothing readable is there.
    """
    if str(image):
        files = {"image": Path(image), "label": Path(organs), "ptv": Path(targets)}
        for option, path in zip(("image", "organs", "targets"), files.values(), strict=True):
            if path == Path() or not path.expanduser().exists():
                raise InputError(f"{option} {str(path)!r} does not exist: give --image CT --organs MAP --targets MAP")
        return [{**{key: str(path.expanduser()) for key, path in files.items()}, "case": file_stem(Path(image))}]
    root = open_folder(dataset_dir, "dataset_dir")
    parts = {key: root / part for key, part in (("image", "images"), ("label", "labels"), ("ptv", "ptv"))}
    lost = next((part for part in parts.values() if not part.is_dir()), None)
    if lost is not None:
        raise InputError(f"{str(lost)!r} is not a folder: a folder of patients holds images/, labels/ and ptv/")
    found = {key: stems(part, VOLUME_SUFFIXES) for key, part in parts.items()}
    items: list[Item] = []
    for case in found["image"]:
        missing = next((str(parts[key]) for key in found if case not in found[key]), None)
        if missing is not None:
            raise InputError(f"{case!r} is not in {missing!r}: each patient needs CT, organs and targets")
        items.append({**{key: str(files[case]) for key, files in found.items()}, "case": case})
    if not items:
        raise InputError(f"{str(parts['image'])!r} holds no volume: known endings are {', '.join(VOLUME_SUFFIXES)}")
    return items
