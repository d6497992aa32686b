"""Readers for the data layouts that the bundles accept; each returns a MONAI datalist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from medmamba_monai.collection.checks import InputError

__all__ = ["BREAST_CLASSES", "balanced_weights", "breast_ultrasound", "hippocampus", "input_files"]

BREAST_CLASSES = ("normal", "benign", "malignant")
SECTIONS = ("train", "val", "test")
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
Item = dict[str, object]


def _folder(path: str | Path, what: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"{what} {str(path)!r} is not a folder: give the folder that holds the data")
    return folder


def _split(file: str | Path) -> dict[str, list[str]]:
    path = Path(file)
    if not path.is_file():
        raise InputError(f"the split list {str(file)!r} does not exist: restore the bundle's configs/splits.json")
    with path.open(encoding="utf-8") as stream:
        split = json.load(stream)
    missing = [section for section in SECTIONS if not isinstance(split.get(section), list)]
    if missing:
        raise InputError(f"the split list {str(file)!r} has no list named {missing[0]!r}: it needs train, val and test")
    return {section: list(split[section]) for section in SECTIONS}


def _stems(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Maps a case name to its file; hidden files (the ``._`` ones of macOS archives too) are skipped."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in suffixes if path.name.lower().endswith(s)), None)
        if suffix is not None and not path.name.startswith("."):
            found[path.name[: -len(suffix)]] = path
    return found


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
    root = _folder(dataset_dir, "dataset_dir")
    nested = root / "Task04_Hippocampus"
    for base, images, labels in (
        (root, "images", "labels"),
        (root, "imagesTr", "labelsTr"),
        (nested, "imagesTr", "labelsTr"),
    ):
        if (base / images).is_dir() and (base / labels).is_dir():
            image_files = _stems(base / images, (".nii.gz", ".nii"))
            label_files = _stems(base / labels, (".nii.gz", ".nii"))
            break
    else:
        raise InputError(
            f"dataset_dir {str(dataset_dir)!r} has neither images/ and labels/ "
            "nor the Decathlon's imagesTr/ and labelsTr/"
        )
    lost = sorted(set(image_files) - set(label_files))
    if lost:
        raise InputError(f"case {lost[0]!r} in {str(dataset_dir)!r} has an image but no label: restore its label")
    cases = _section(split_hippocampus(image_files, _split(split_file)), section, dataset_dir)
    return [
        {
            "image": str(image_files[case]),
            "label": str(label_files[case]),
            "case": case,
            "group": str(hippocampus_subject(case)),
        }
        for case in cases
    ]


def _section(split: dict[str, list[str]], section: str, dataset_dir: str | Path) -> list[str]:
    if section not in split:
        raise InputError(f"section {section!r} is unknown: use one of {', '.join(SECTIONS)}")
    if not split[section]:
        raise InputError(f"dataset_dir {str(dataset_dir)!r} holds no case of the {section} list: check the case names")
    return split[section]


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
    root = _folder(dataset_dir, "dataset_dir")
    files: dict[str, Path] = {}
    bases = [base for base in (root, root / "Dataset_BUSI_with_GT") if all((base / c).is_dir() for c in BREAST_CLASSES)]
    if (root / "images").is_dir():
        files = _stems(root / "images", IMAGE_SUFFIXES)
    elif bases:
        for name in BREAST_CLASSES:
            for stem, path in _stems(bases[0] / name, IMAGE_SUFFIXES).items():
                if "_mask" not in stem:
                    files[re.sub(r"\s*\((\d+)\)$", r"_\1", stem)] = path
    else:
        raise InputError(
            f"dataset_dir {str(dataset_dir)!r} has neither images/ "
            "nor the class folders normal/, benign/ and malignant/"
        )
    split = {key: [name for name in names if name in files] for key, names in _split(split_file).items()}
    with open(split_file, encoding="utf-8") as stream:
        groups = json.load(stream).get("groups", {})
    return [
        {
            "image": str(files[case]),
            "label": BREAST_CLASSES.index(case.split("_")[0]),
            "case": case,
            "group": str(groups.get(case, case)),
        }
        for case in _section(split, section, dataset_dir)
    ]


def input_files(image: str | Path, dataset_dir: str | Path) -> list[Item]:
    """Lists what inference shall read: one image, or every image of a folder.

    A folder of DICOM slices counts as one image.

    Args:
        image: one file or DICOM folder; empty to read ``dataset_dir``.
        dataset_dir: folder with images, or with a subfolder ``images`` or ``imagesTs``.

    Raises:
        InputError: when nothing readable is there.
    """
    if str(image):
        path = Path(image).expanduser()
        if not path.exists():
            raise InputError(f"image {str(image)!r} does not exist: check the path")
        return [{"image": str(path), "case": _case(path)}]
    root = _folder(dataset_dir, "dataset_dir")
    folder = next((root / name for name in ("imagesTs", "images") if (root / name).is_dir()), root)
    found = _stems(folder, sorted(IMAGE_SUFFIXES, key=len, reverse=True))
    if not found:
        raise InputError(f"{str(folder)!r} holds no image: known endings are {', '.join(IMAGE_SUFFIXES)}")
    return [{"image": str(path), "case": name} for name, path in found.items()]


def _case(path: Path) -> str:
    suffix = next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def balanced_weights(items: Iterable[Item]) -> list[float]:
    """Gives every item a weight so that each class is drawn equally often.

    Args:
        items: datalist with a class number under ``label``.

    Example:
        >>> balanced_weights([{"label": 0}, {"label": 0}, {"label": 1}])
        [0.5, 0.5, 1.0]
    """
    labels = [item["label"] for item in items]
    return [1.0 / labels.count(label) for label in labels]
