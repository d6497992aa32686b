"""ACDC's groups of disease: one item a patient, of the volumes at end diastole and end systole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.cardiac import PHASES, VOLUME_SUFFIXES, volumes_of
from medmamba_monai.collection.datasets.common import Item, file_stem, labelled_items, open_folder, stems

HEART_CLASSES = ("DCM", "HCM", "MINF", "NOR", "RV")
PARTS = ("images", "labels")


def heart_groups(dataset_dir: str | Path, section: str, split_file: str | Path, part: str = "images") -> list[Item]:
    """Lists the patients of one section of the ACDC data with their group of disease.

    ``image`` of an item is the list of two files, end diastole and end systole: MONAI loads them as two channels.

    Args:
        dataset_dir: folder with the data, in a layout of :func:`cardiac`.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the patients of the three sections and ``labels``, the group of each.
        part: ``images``, or ``labels`` to read the label maps in their place.

    Raises:
        InputError: as :func:`cardiac`, for an unknown part, and when a patient has one volume only.
    """
    if part not in PARTS:
        raise InputError(f"part {part!r} is unknown: use images or labels")
    found = dict(zip(PARTS, volumes_of(dataset_dir), strict=True))[part]
    both = _by_patient(found, dataset_dir)
    items = labelled_items({p: files[0] for p, files in both.items()}, HEART_CLASSES, dataset_dir, section, split_file)
    return [{**item, "image": [str(file) for file in both[str(item["case"])]]} for item in items]


def input_hearts(image: str | Path, second: str | Path, dataset_dir: str | Path) -> list[Item]:
    """Lists the patients that inference shall read.

    Args:
        image: volume at end diastole, or one file with both phases as time points; empty to read ``dataset_dir``.
        second: volume at end systole; empty when ``image`` holds both.
        dataset_dir: folder with files whose names end with ``_ED`` and ``_ES``, or a subfolder ``images`` of them.

    Raises:
        InputError: when a file does not exist, or nothing readable is there.
    """
    if str(image):
        files = [Path(file).expanduser() for file in (image, second) if str(file)]
        lost = next((file for file in files if not file.exists()), None)
        if lost is not None:
            raise InputError(f"image {str(lost)!r} does not exist: check the path")
        paths = [str(file) for file in files]
        return [{"image": paths if second else paths[0], "case": file_stem(files[0]).removesuffix("_ED")}]
    root = open_folder(dataset_dir, "dataset_dir")
    folder = root / "images" if (root / "images").is_dir() else root
    both = _by_patient(stems(folder, VOLUME_SUFFIXES), folder)
    if not both:
        raise InputError(f"{str(folder)!r} holds no pair like heart_ED.nii.gz and heart_ES.nii.gz: name the files so")
    return [{"image": [str(file) for file in files], "case": patient} for patient, files in both.items()]


def _by_patient(files: Mapping[str, Path], folder: str | Path) -> dict[str, tuple[Path, Path]]:
    first, last = PHASES
    patients = sorted({name[: -len(first) - 1] for name in files if name.endswith((f"_{first}", f"_{last}"))})
    for patient in patients:
        for phase in PHASES:
            if f"{patient}_{phase}" not in files:
                raise InputError(f"{str(folder)!r} has no {patient}_{phase}: each patient needs both phases")
    return {patient: (files[f"{patient}_{first}"], files[f"{patient}_{last}"]) for patient in patients}
