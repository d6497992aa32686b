"""White blood cells of Zheng and others (2018), "Dataset 1": small colour pictures of one cell each."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, labelled_items, open_folder, stems

CELL_CLASSES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil")


def blood_cells(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the pictures and classes of one section of the white blood cells.

    Reads two layouts: ``images/`` with names like ``d1_012.png``, and the publisher's ``Dataset 1/012.bmp`` (the
    folder itself or its parent), where the ``.png`` files are masks. The only basophil is in no list.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the lists and the class of each picture.

    Raises:
        InputError: when the folder is missing or has neither layout, for an unknown section, or when
            the section has no picture there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    files: dict[str, Path] = {}
    if (root / "images").is_dir():
        files = stems(root / "images", IMAGE_SUFFIXES)
    else:
        base = root / "Dataset 1" if (root / "Dataset 1").is_dir() else root
        files = {f"d1_{stem}": path for stem, path in stems(base, (".bmp",)).items()}
    if not files:
        raise InputError(f"dataset_dir {str(dataset_dir)!r} has neither images/ nor the publisher's Dataset 1/*.bmp")
    return labelled_items(files, CELL_CLASSES, dataset_dir, section, split_file)
