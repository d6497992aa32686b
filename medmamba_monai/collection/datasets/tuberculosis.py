"""Chest X-rays of Shenzhen and Montgomery County (U.S. National Library of Medicine): tuberculosis or normal."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, labelled_items, open_folder, stems

CHEST_CLASSES = ("normal", "tuberculosis")
PUBLISHED = ("ChinaSet_AllFiles/CXR_png", "MontgomerySet/CXR_png")


def tuberculosis(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the X-rays, classes and sites of one section of the tuberculosis data.

    Reads two layouts: ``images/``, and the publisher's ``ChinaSet_AllFiles/CXR_png`` and ``MontgomerySet/CXR_png``
    side by side. Names like ``CHNCXR_0001_0`` and ``MCUCXR_0104_1`` tell the site and, by the last digit, the class.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the lists and the class of each picture.

    Raises:
        InputError: when the folder is missing or has neither layout, for an unknown section, or when
            the section has no picture there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    folders = [root / name for name in ("images", *PUBLISHED) if (root / name).is_dir()]
    if not folders:
        raise InputError(f"dataset_dir {str(dataset_dir)!r} has neither images/ nor {' and '.join(PUBLISHED)}")
    files = {stem: path for folder in folders for stem, path in stems(folder, IMAGE_SUFFIXES).items()}
    return labelled_items(files, CHEST_CLASSES, dataset_dir, section, split_file)
