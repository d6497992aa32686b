"""Kvasir-SEG, colonoscopy pictures with the outlines of polyps (CC BY 4.0 as a part of HyperKvasir)."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, open_folder, paired_items, stems


def polyps(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the pictures and masks of one section of the polyp data.

    Reads ``images/`` with ``labels/`` or with the publisher's ``masks/``; the folder itself, or its parent under the
    publisher's name ``Kvasir-SEG``. Masks may be stored with any numbers, also as JPEG: what is brighter than half of
    the brightest pixel is polyp.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has neither layout, for an unknown section, or when
            the section has no picture there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    for base in (root, root / "Kvasir-SEG"):
        for masks in ("labels", "masks"):
            if (base / "images").is_dir() and (base / masks).is_dir():
                images, labels = (stems(base / part, IMAGE_SUFFIXES) for part in ("images", masks))
                return paired_items(images, labels, dataset_dir, section, split_file)
    raise InputError(f"dataset_dir {str(dataset_dir)!r} has neither images/ and labels/ nor Kvasir-SEG's masks/")
