"""Sunnybrook, short-axis cine MR with the endocardium of the left ventricle (public domain): single slices."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from medmamba_monai.collection.checks import InputError, read_array
from medmamba_monai.collection.datasets.common import (
    IMAGE_SUFFIXES,
    Item,
    open_folder,
    paired_items,
    stems,
    words_of,
)

CONTOUR = re.compile(r"(IM-\d+)-(\d+)-icontour-manual\.txt$")


def left_ventricle(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the slices and masks of one section of the Sunnybrook data.

    Reads ``images/`` with ``labels/`` or ``masks/`` and names like ``SC-HF-I-04-IM-0001-0007.png``. The publisher's
    DICOM files and contours are turned into this layout by ``prepare``. When the split file has ``phases``, each item
    has its ``phase``: ``ED``, ``ES`` or, where it is not known, ``unknown``.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has another layout, for an unknown section, or when
            the section has no slice there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    for masks in ("labels", "masks"):
        if (root / "images").is_dir() and (root / masks).is_dir():
            images, labels = (stems(root / part, IMAGE_SUFFIXES) for part in ("images", masks))
            items = paired_items(images, labels, dataset_dir, section, split_file)
            phases = words_of(split_file, "phases")
            return [i | ({"phase": phases.get(str(i["case"]), "unknown")} if phases else {}) for i in items]
    raise InputError(
        f"dataset_dir {str(dataset_dir)!r} has no images/ and labels/: "
        "run python -m medmamba_monai prepare left_ventricle DOWNLOAD DEST first"
    )


def slices_from_contours(download: Path, dest: Path, cases: set[str]) -> bool:
    """Turns the publisher's DICOM slices and contours of the endocardium into pictures and masks.

    Reads ``SCD_ManualContours/SC-HF-I-01/contours-manual/IRCCI-expert/IM-0001-0048-icontour-manual.txt``, the table
    ``scd_patientdata.csv`` (columns ``PatientID`` and ``OriginalID``) and ``SCD0000101/CINESAX_300/IM-0003-0048.dcm``;
    the last number of the names tells which contour belongs to which slice.

    Args:
        download: any folder above these three.
        dest: folder for ``images/`` and ``labels/``.
        cases: the cases that are wanted.

    Returns:
        False when the download has another layout.
    """
    from PIL import Image, ImageDraw

    contours = sorted(path for path in download.rglob("*-icontour-manual.txt") if not path.name.startswith("."))
    table = next(iter(sorted(download.rglob("scd_patientdata.csv"))), None)
    if not contours or table is None:
        return False
    patients = _patients(table)
    for part in ("images", "labels"):
        (dest / part).mkdir(parents=True, exist_ok=True)
    for contour in contours:
        subject, (series, frame) = contour.parents[2].name, _numbers(contour)
        case = f"{subject}-{series}-{frame}"
        if case not in cases:
            continue
        plain = read_array(_slice(download, patients.get(subject), subject, frame)).squeeze().T.astype(np.float64)
        low, high = plain.min(), max(plain.max(), plain.min() + 1)
        picture = Image.fromarray(np.round(255 * (plain - low) / (high - low)).astype(np.uint8))
        mask = Image.new("L", picture.size)
        ImageDraw.Draw(mask).polygon([(x, y) for x, y in np.loadtxt(contour, ndmin=2)[:, :2].tolist()], fill=255)
        picture.save(dest / "images" / f"{case}.png")
        mask.save(dest / "labels" / f"{case}.png")
    return True


def _numbers(contour: Path) -> tuple[str, str]:
    found = CONTOUR.search(contour.name)
    if found is None:
        raise InputError(f"{contour} is not called like IM-0001-0048-icontour-manual.txt: unpack the contours again")
    return found.group(1), found.group(2)


def _patients(table: Path) -> dict[str, str]:
    """The folder of each subject; the table writes numbers without the leading zero of the contours' folders."""
    with open(table, newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    return {re.sub(r"-(\d)$", r"-0\1", row["OriginalID"].strip()): row["PatientID"].strip() for row in rows}


def _slice(download: Path, patient: str | None, subject: str, frame: str) -> Path:
    found = [] if patient is None else sorted(download.rglob(f"{patient}/CINESAX*/IM-*-{frame}.dcm"))
    if not found:
        raise InputError(
            f"{download} has no CINESAX*/IM-*-{frame}.dcm of {subject} ({patient or 'not in scd_patientdata.csv'}): "
            "unpack all parts of the download into one folder"
        )
    return found[0]
