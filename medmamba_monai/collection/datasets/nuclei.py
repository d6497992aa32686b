"""The nuclei of the 2018 Data Science Bowl (BBBC038, CC0): microscopy pictures with an instance map."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, open_folder, paired_items, stems


def nuclei(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the pictures and instance maps of one section of the nuclei data.

    Reads ``images/`` with ``labels/`` or ``masks/``: one instance map a picture, 16-bit, 0 for background. The
    publisher's download, which has one file an object, is turned into this layout by ``prepare``.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has another layout, for an unknown section, or when
            the section has no picture there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    for labels in ("labels", "masks"):
        if (root / "images").is_dir() and (root / labels).is_dir():
            found = [stems(root / part, IMAGE_SUFFIXES) for part in ("images", labels)]
            return paired_items(found[0], found[1], dataset_dir, section, split_file)
    raise InputError(
        f"dataset_dir {str(dataset_dir)!r} has no images/ and labels/: "
        "run python -m medmamba_monai prepare nuclei DOWNLOAD DEST first"
    )
