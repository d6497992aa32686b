"""GlaS, stained sections of the colon with outlined glands (Warwick, MICCAI 2015; research use only)."""

from __future__ import annotations

from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, open_folder, paired_items, stems

PUBLISHED = "Warwick QU Dataset (Released 2016_07_08)"


def glands(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the pictures and masks of one section of the gland data.

    Reads ``images/`` with ``labels/`` or ``masks/``: instance maps with 0 for background, or masks with one number for
    all glands. The publisher's download, twice as fine, is halved into this layout by ``prepare``.

    Args:
        dataset_dir: folder with the data.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: when the folder is missing or has another layout, for an unknown section, or when
            the section has no picture there.
    """
    root = open_folder(dataset_dir, "dataset_dir")
    for masks in ("labels", "masks"):
        if (root / "images").is_dir() and (root / masks).is_dir():
            images, labels = (stems(root / part, IMAGE_SUFFIXES) for part in ("images", masks))
            return paired_items(images, labels, dataset_dir, section, split_file)
    raise InputError(
        f"dataset_dir {str(dataset_dir)!r} has no images/ and labels/: "
        "run python -m medmamba_monai prepare glands DOWNLOAD DEST first"
    )


def halve_glands(download: Path, dest: Path, cases: set[str]) -> bool:
    """Halves the publisher's ``train_1.bmp`` and ``train_1_anno.bmp`` in both directions, to about 1.24 um a pixel.

    Args:
        download: the folder with these files, or its parent.
        dest: folder for ``images/`` and ``labels/``.
        cases: the cases that are wanted.

    Returns:
        False when the download has another layout.
    """
    from PIL import Image

    base = next((b for b in (download, download / PUBLISHED) if any(b.glob("*_anno.bmp"))), None)
    if base is None:
        return False
    for part in ("images", "labels"):
        (dest / part).mkdir(parents=True, exist_ok=True)
    files = stems(base, (".bmp",))
    for case in sorted(cases & set(files)):
        if f"{case}_anno" not in files:
            raise InputError(f"{base} has no {case}_anno.bmp: unpack the archive again")
        with Image.open(files[case]) as picture, Image.open(files[f"{case}_anno"]) as label:
            size = ((picture.width + 1) // 2, (picture.height + 1) // 2)
            picture.convert("RGB").resize(size, Image.Resampling.BOX).save(dest / "images" / f"{case}.png")
            label.resize(size, Image.Resampling.NEAREST).save(dest / "labels" / f"{case}.png")
    return True
