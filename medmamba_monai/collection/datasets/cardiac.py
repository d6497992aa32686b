"""ACDC, short-axis cardiac MR at end diastole and end systole (MICCAI 2017; research use, cite): labelled volumes."""

from __future__ import annotations

import re
from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import Item, open_folder, paired_items, stems

VOLUME_SUFFIXES = (".nii.gz", ".nii")
PHASES = ("ED", "ES")


def cardiac(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the volumes and labels of one section of the ACDC data, two a patient.

    Reads two layouts: ``images/`` with ``labels/`` and names like ``patient001_ED.nii.gz``, and the publisher's
    ``patient001/`` with ``Info.cfg``, ``patient001_frame01.nii.gz`` and ``patient001_frame01_gt.nii.gz`` (the folder
    that holds them, or its parents called ``training`` and ``database``). Patients outside the split list are left out.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has neither layout, a file is missing, for an unknown section, or
            when the section has no case there.
    """
    images, labels = volumes_of(dataset_dir)
    return paired_items(images, labels, dataset_dir, section, split_file)


def volumes_of(dataset_dir: str | Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Finds the images and the labels by names like ``patient001_ED`` in one of the layouts of :func:`cardiac`.

    Raises:
        InputError: when the folder is missing or has neither layout, or a file is missing.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    if (root / "images").is_dir() and (root / "labels").is_dir():
        plain_images, plain_labels = (stems(root / part, VOLUME_SUFFIXES) for part in ("images", "labels"))
        return plain_images, plain_labels
    for base in (root, root / "training", root / "database" / "training"):
        patients = sorted(path.parent for path in base.glob("patient*/Info.cfg"))
        if patients:
            images: dict[str, Path] = {}
            labels: dict[str, Path] = {}
            for patient in patients:
                for phase, frame in frames_of(patient / "Info.cfg").items():
                    case, name = f"{patient.name}_{phase}", f"{patient.name}_frame{frame:02d}"
                    found = stems(patient, VOLUME_SUFFIXES)
                    images |= {case: found[name]} if name in found else {}
                    labels |= {case: found[f"{name}_gt"]} if f"{name}_gt" in found else {}
            return images, labels
    raise InputError(f"dataset_dir {str(dataset_dir)!r} has neither images/ and labels/ nor ACDC's patient001/Info.cfg")


def frames_of(info: str | Path) -> dict[str, int]:
    """Reads the frame numbers of end diastole (ED) and end systole (ES) from a patient's ``Info.cfg``.

    Raises:
        InputError: when one of them is not there.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "Info.cfg"
        >>> _ = file.write_text("ED: 1\\nES: 12\\nGroup: DCM\\n")
        >>> frames_of(file)
        {'ED': 1, 'ES': 12}
    """
    text = Path(info).read_text(encoding="utf-8")
    numbers = {phase: re.search(rf"^\s*{phase}\s*:\s*(\d+)", text, re.MULTILINE) for phase in PHASES}
    missing = [phase for phase, number in numbers.items() if number is None]
    if missing:
        raise InputError(f"{info} has no line '{missing[0]}: <frame>': restore ACDC's Info.cfg")
    return {phase: int(number.group(1)) for phase, number in numbers.items() if number}
