"""OpenKBP, head-and-neck CT of radiotherapy patients with contours of organs at risk (MIT; images from TCIA)."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import Item, open_folder, paired_items, stems

HEAD_NECK_ORGANS = ("brainstem", "spinal_cord", "right_parotid", "left_parotid", "mandible")
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
