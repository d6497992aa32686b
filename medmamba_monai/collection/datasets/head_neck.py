"""OpenKBP, head-and-neck CT of radiotherapy patients with contours of organs at risk (MIT; images from TCIA)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import Item, open_folder, paired_items, stems

HEAD_NECK_ORGANS = ("brainstem", "spinal_cord", "right_parotid", "left_parotid", "mandible")
TABLES = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Mandible")
SIDE = 128  # voxels of each axis of the publisher's volumes
VOLUME_SUFFIXES = (".nii.gz", ".nii")


def head_neck(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the volumes and labels of one section of the head-and-neck data.

    Reads ``images/`` with ``labels/`` and names like ``pt_1.nii.gz``; CT in Hounsfield units, or as bytes that hold
    (HU + 400) / 4. The publisher's tables (``provided-data``) are turned into this layout by ``prepare``.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has another layout, for an unknown section, or when
            the section has no case there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    if not ((root / "images").is_dir() and (root / "labels").is_dir()):
        raise InputError(
            f"dataset_dir {str(dataset_dir)!r} has no images/ and labels/: "
            "run python -m medmamba_monai prepare head_neck DOWNLOAD DEST first"
        )
    images, labels = (stems(root / part, VOLUME_SUFFIXES) for part in ("images", "labels"))
    return paired_items(images, labels, dataset_dir, section, split_file)


def volumes_from_tables(download: Path, dest: Path, cases: set[str]) -> bool:
    """Turns the publisher's tables ``pt_1/{ct,Brainstem,...,voxel_dimensions}.csv`` into volumes in Hounsfield units.

    A table lists places of a volume of 128 x 128 x 128 voxels (the last axis runs fastest) and the number there. The
    axes run to posterior, left and inferior. Where organs overlap, the later one of the list wins.

    Args:
        download: any folder above the patients' folders, such as ``provided-data``.
        dest: folder for ``images/`` and ``labels/``.
        cases: the cases that are wanted.

    Returns:
        False when the download has another layout.
    """
    import nibabel

    patients = sorted(file.parent for file in download.rglob("pt_*/ct.csv"))
    for part in ("images", "labels"):
        (dest / part).mkdir(parents=True, exist_ok=True)
    for patient in (path for path in patients if path.name in cases):
        lost = [name for name in (*TABLES, "voxel_dimensions") if not (patient / f"{name}.csv").is_file()]
        if lost:
            raise InputError(f"{patient} has no {lost[0]}.csv: download it again")
        x, y, z = np.loadtxt(patient / "voxel_dimensions.csv").ravel()[:3]
        affine = np.array([[0, -y, 0, 0], [-x, 0, 0, 0], [0, 0, -z, 0], [0, 0, 0, 1.0]])
        label = np.zeros(SIDE**3, dtype=np.uint8)
        for number, name in enumerate(TABLES, start=1):
            label[read_table(patient / f"{name}.csv")[0]] = number
        places, values = read_table(patient / "ct.csv")
        ct = np.full(SIDE**3, -1024, dtype=np.int16)
        ct[places] = np.round(values - 1024)
        for part, volume in (("images", ct), ("labels", label)):
            image = nibabel.Nifti1Image(volume.reshape(SIDE, SIDE, SIDE), affine)
            nibabel.save(image, dest / part / f"{patient.name}.nii.gz")
    return bool(patients)


def read_table(file: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places and numbers of a table; an organ's table has no numbers (NaN here)."""
    rows = np.genfromtxt(file, delimiter=",", skip_header=1, ndmin=2)
    return rows[:, 0].astype(np.int64), rows[:, 1]
