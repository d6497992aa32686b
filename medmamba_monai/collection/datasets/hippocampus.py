"""The Medical Segmentation Decathlon's hippocampus data (Task04): volumes with a label map."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import SECTIONS, Item, open_folder, read_split, section_of, stems


def hippocampus_subject(case: str) -> int:
    """Returns the subject of a Decathlon hippocampus case.

    Cases 2k-1 and 2k are the two hippocampi of one head.

    Args:
        case: case name that ends in its number.

    Raises:
        InputError: when the name ends in no number.

    Example:
        >>> hippocampus_subject("hippocampus_007"), hippocampus_subject("hippocampus_008")
        (4, 4)
    """
    number = re.search(r"(\d+)$", case)
    if number is None:
        raise InputError(f"case {case!r} ends in no number: hippocampus cases are called like hippocampus_007")
    return (int(number.group(1)) + 1) // 2


def split_hippocampus(cases: Iterable[str], split: dict[str, list[str]]) -> dict[str, list[str]]:
    """Spreads cases over train, val and test so that no subject is in two of them.

    A case whose subject is in the given lists follows that subject; every other case goes to train.

    Args:
        cases: case names.
        split: case names of ``train``, ``val`` and ``test``.

    Example:
        >>> lists = {"train": ["hippocampus_001"], "val": ["hippocampus_003"], "test": ["hippocampus_005"]}
        >>> split_hippocampus(["hippocampus_004", "hippocampus_009"], lists)
        {'train': ['hippocampus_009'], 'val': ['hippocampus_004'], 'test': []}
    """
    home = {hippocampus_subject(case): section for section in SECTIONS for case in split[section]}
    spread: dict[str, list[str]] = {section: [] for section in SECTIONS}
    for case in sorted(cases):
        spread[home.get(hippocampus_subject(case), "train")].append(case)
    return spread


def hippocampus(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the images and labels of one section of the hippocampus data.

    Reads two layouts: ``images/`` with ``labels/``, and the Decathlon's ``Task04_Hippocampus`` with
    ``dataset.json``, ``imagesTr/`` and ``labelsTr/`` (the folder itself or its parent).

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has neither layout, for an unknown section, or when
            the section has no case there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    nested = root / "Task04_Hippocampus"
    for base, images, labels in (
        (root, "images", "labels"),
        (root, "imagesTr", "labelsTr"),
        (nested, "imagesTr", "labelsTr"),
    ):
        if (base / images).is_dir() and (base / labels).is_dir():
            image_files = stems(base / images, (".nii.gz", ".nii"))
            label_files = stems(base / labels, (".nii.gz", ".nii"))
            break
    else:
        raise InputError(
            f"dataset_dir {str(dataset_dir)!r} has neither images/ and labels/ "
            "nor the Decathlon's imagesTr/ and labelsTr/"
        )
    lost = sorted(set(image_files) - set(label_files))
    if lost:
        raise InputError(f"case {lost[0]!r} in {str(dataset_dir)!r} has an image but no label: restore its label")
    cases = section_of(split_hippocampus(image_files, read_split(split_file)), section, dataset_dir)
    return [
        {
            "image": str(image_files[case]),
            "label": str(label_files[case]),
            "case": case,
            "group": str(hippocampus_subject(case)),
        }
        for case in cases
    ]
