"""Registered slices of the brain in MR and in CT, PET or SPECT, from the Whole Brain Atlas (AANLIB): for fusion."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError, check_label
from medmamba_monai.collection.datasets.common import (
    IMAGE_SUFFIXES,
    Item,
    groups_of,
    input_files,
    open_folder,
    read_split,
    section_of,
    stems,
    words_of,
)

PAIRS = ("CT-MRI", "PET-MRI", "SPECT-MRI")


def brain_pairs(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the pairs of one section: ``image`` is the MR slice, ``second`` that of the other modality.

    Reads the folders of the published collection (``CT-MRI/MRI/34002.png`` with ``CT-MRI/CT/34002.png``, in the same
    way ``PET-MRI`` and ``SPECT-MRI``; the case is ``CT-MRI_34002``), and ``images/`` with ``second/`` of one name each.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has another layout, a slice has no partner, for an unknown section,
            or when the section has no pair there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    images, second = _files(root)
    if not images:
        raise InputError(
            f"dataset_dir {str(dataset_dir)!r} has neither images/ and second/ nor CT-MRI/MRI/: unpack the download "
            "there, or run python -m medmamba_monai prepare brain_pairs DOWNLOAD DEST"
        )
    split = {key: [name for name in names if name in images] for key, names in read_split(split_file).items()}
    lost = sorted({name for names in split.values() for name in names} - set(second))
    if lost:
        raise InputError(f"case {lost[0]!r} in {str(dataset_dir)!r} has no slice of the other modality: restore it")
    groups, sites = groups_of(split_file), words_of(split_file, "sites")
    items: list[Item] = []
    for case in section_of(split, section, dataset_dir):
        item: Item = {"image": str(images[case]), "second": str(second[case]), "case": case}
        items.append(item | {"group": groups.get(case, case)} | ({"site": sites[case]} if sites else {}))
    return items


def _files(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    if (root / "images").is_dir() and (root / "second").is_dir():
        return stems(root / "images", IMAGE_SUFFIXES), stems(root / "second", IMAGE_SUFFIXES)
    images: dict[str, Path] = {}
    second: dict[str, Path] = {}
    for pair in PAIRS:
        for part, found in (("MRI", images), (pair.partition("-")[0], second)):
            folder = root / pair / part
            if folder.is_dir():
                found |= {f"{pair}_{name}": file for name, file in stems(folder, IMAGE_SUFFIXES).items()}
    return images, second


def input_brain_pairs(image: str | Path, second: str | Path, dataset_dir: str | Path) -> list[Item]:
    """Lists what inference shall fuse: one pair of files, or all pairs of a folder.

    Args:
        image: MR slice; empty to read ``dataset_dir``.
        second: its partner.
        dataset_dir: folder with ``images/`` and ``second/``, a pair has the same name in both.

    Raises:
        InputError: when nothing readable is there, a slice has no partner, or both differ in size.
    """
    items = input_files(image, dataset_dir)
    if str(image):
        if not str(second):
            raise InputError(f"image {str(image)!r} has no partner: give the slice of the other modality with --second")
        items[0]["second"] = input_files(second, dataset_dir)[0]["image"]
    else:
        partners = stems(open_folder(Path(dataset_dir).expanduser() / "second", "dataset_dir"), IMAGE_SUFFIXES)
        for item in items:
            if item["case"] not in partners:
                raise InputError(f"case {item['case']!r} has no file in {str(dataset_dir)!r}/second: add its partner")
            item["second"] = str(partners[str(item["case"])])
    return items


def check_brain_pairs(items: list[Item]) -> None:
    """Check that both slices of each pair are readable and have one size.

    Args:
        items: datalist with ``image`` and ``second``.

    Raises:
        InputError: they do not.
    """
    for item in items:
        check_label(str(item["image"]), str(item["second"]), 2)
