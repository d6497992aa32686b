"""CHASE_DB1, retina photographs of children with the vessels drawn by two observers (CC BY 4.0)."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, open_folder, paired_items, stems

FIRST, SECOND = "_1stHO", "_2ndHO"


def retina(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the photographs and vessel masks of one section of CHASE_DB1.

    The first observer's mask is the label; where the second observer's is there, the item has it as ``second``. Reads
    ``images/`` with ``labels/`` and perhaps ``second/``, or with ``masks_1stHO/`` and ``masks_2ndHO/``; and the
    publisher's single folder with ``Image_01L.jpg``, ``Image_01L_1stHO.png`` and ``Image_01L_2ndHO.png``.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has no known layout, for an unknown section, or when
            the section has no picture there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    found = _plain(root) or _published(root)
    if found is None:
        raise InputError(
            f"dataset_dir {str(dataset_dir)!r} has neither images/ and labels/ nor CHASE_DB1's Image_01L{FIRST}.png"
        )
    images, labels, seconds = found
    items = paired_items(images, labels, dataset_dir, section, split_file)
    return [i | ({"second": str(seconds[str(i["case"])])} if i["case"] in seconds else {}) for i in items]


def _plain(root: Path) -> tuple[dict[str, Path], ...] | None:
    for labels, second in (("labels", "second"), (f"masks{FIRST}", f"masks{SECOND}")):
        if (root / "images").is_dir() and (root / labels).is_dir():
            others = stems(root / second, IMAGE_SUFFIXES) if (root / second).is_dir() else {}
            return stems(root / "images", IMAGE_SUFFIXES), stems(root / labels, IMAGE_SUFFIXES), others
    return None


def _published(root: Path) -> tuple[dict[str, Path], ...] | None:
    for base in (root, root / "CHASEDB1"):
        files = stems(base, IMAGE_SUFFIXES) if base.is_dir() else {}
        first, second = (
            {name.removesuffix(end): file for name, file in files.items() if name.endswith(end)}
            for end in (FIRST, SECOND)
        )
        if first:
            return {name: file for name, file in files.items() if not name.endswith((FIRST, SECOND))}, first, second
    return None
