"""The nuclei of the 2018 Data Science Bowl (BBBC038, CC0): microscopy pictures with an instance map."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, open_folder, paired_items, stems

NAME = 12  # characters of the publisher's names that tell the pictures apart


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


def merge_nuclei(download: Path, dest: Path, cases: set[str]) -> bool:
    """Turns the publisher's ``ID/images/ID.png`` and ``ID/masks/*.png``, one file an object, into instance maps.

    Args:
        download: the folder ``stage1_train`` or its parent.
        dest: folder for ``images/`` and ``labels/``, whose files are called by the first 12 characters of the ID.
        cases: the cases that are wanted.

    Returns:
        False when the download has another layout.
    """
    from PIL import Image

    base = next((b for b in (download, download / "stage1_train") if any(b.glob("*/masks/*.png"))), None)
    if base is None:
        return False
    for part in ("images", "labels"):
        (dest / part).mkdir(parents=True, exist_ok=True)
    for folder in sorted(path for path in base.iterdir() if path.name[:NAME] in cases):
        pictures = stems(folder / "images", (".png",))
        masks = list(stems(folder / "masks", (".png",)).values())
        if not pictures or not masks:
            raise InputError(f"{folder} has no picture or no masks: unpack the archive again")
        shutil.copyfile(next(iter(pictures.values())), dest / "images" / f"{folder.name[:NAME]}.png")
        label = np.zeros(np.asarray(Image.open(masks[0])).shape[:2], dtype=np.uint16)
        for number, mask in enumerate(masks, start=1):
            label[np.asarray(Image.open(mask).convert("L")) > 0] = number
        Image.fromarray(label).save(dest / "labels" / f"{folder.name[:NAME]}.png")
    return True
