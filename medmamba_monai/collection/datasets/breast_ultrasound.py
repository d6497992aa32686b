"""BUSI, breast ultrasound images (CC BY 4.0): pictures of three classes."""

from __future__ import annotations

import re
from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import (
    IMAGE_SUFFIXES,
    Item,
    groups_of,
    open_folder,
    read_split,
    section_of,
    stems,
)

BREAST_CLASSES = ("normal", "benign", "malignant")


def breast_ultrasound(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the images and classes of one section of the breast ultrasound data.

    Reads two layouts: ``images/`` with names like ``benign_12.jpg``, and the publisher's
    ``Dataset_BUSI_with_GT/{normal,benign,malignant}/benign (12).png`` (the folder itself or its parent), whose
    ``_mask`` files are skipped. Images outside the split list are left out: the list holds no image that has a near
    duplicate of another class, and keeps near duplicates together.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the image names of the three sections.

    Raises:
        InputError: when the folder is missing or has neither layout, for an unknown section, or when
            the section has no image there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    files: dict[str, Path] = {}
    bases = [base for base in (root, root / "Dataset_BUSI_with_GT") if all((base / c).is_dir() for c in BREAST_CLASSES)]
    if (root / "images").is_dir():
        files = stems(root / "images", IMAGE_SUFFIXES)
    elif bases:
        for name in BREAST_CLASSES:
            for stem, path in stems(bases[0] / name, IMAGE_SUFFIXES).items():
                if "_mask" not in stem:
                    files[re.sub(r"\s*\((\d+)\)$", r"_\1", stem)] = path
    else:
        raise InputError(
            f"dataset_dir {str(dataset_dir)!r} has neither images/ "
            "nor the class folders normal/, benign/ and malignant/"
        )
    split = {key: [name for name in names if name in files] for key, names in read_split(split_file).items()}
    groups = groups_of(split_file)
    return [
        {
            "image": str(files[case]),
            "label": BREAST_CLASSES.index(case.split("_")[0]),
            "case": case,
            "group": groups.get(case, case),
        }
        for case in section_of(split, section, dataset_dir)
    ]
