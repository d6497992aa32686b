"""HAM10000, dermatoscopic pictures of pigmented skin lesions (CC BY-NC-SA 4.0): seven classes."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, labelled_items, open_folder, stems

SKIN_CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
PUBLISHED = ("HAM10000_images_part_1", "HAM10000_images_part_2")


def skin(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the pictures and classes of one section of HAM10000.

    Reads two layouts: ``images/``, and the publisher's ``HAM10000_images_part_1`` and ``HAM10000_images_part_2`` side
    by side. Pictures of one lesion share a group.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the lists and the class of each picture.

    Raises:
        InputError: when the folder is missing or has neither layout, for an unknown section, or when
            the section has no picture there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    folders = [root / name for name in ("images", *PUBLISHED) if (root / name).is_dir()]
    if not folders:
        raise InputError(f"dataset_dir {str(dataset_dir)!r} has neither images/ nor {' and '.join(PUBLISHED)}")
    files = {stem: path for folder in folders for stem, path in stems(folder, IMAGE_SUFFIXES).items()}
    return labelled_items(files, SKIN_CLASSES, dataset_dir, section, split_file)
