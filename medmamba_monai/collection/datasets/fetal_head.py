"""HC18, ultrasound of fetal heads with their outline and circumference (CC BY 4.0)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, open_folder, paired_items, stems

TABLE = "training_set_pixel_size_and_HC.csv"
COLUMNS = ("filename", "pixel size(mm)", "head circumference (mm)")


def fetal_head(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the pictures and masks of one section of HC18, with pixel size and head circumference.

    Reads ``images/`` with ``labels/`` or ``masks/``, the filled head, and ``splits.json`` beside them, whose ``items``
    hold ``pixel_mm`` (of the stored picture) and ``head_circumference_mm`` of each case; a number that is not there is
    NaN. The publisher's download, which has outlines and a table, is turned into this layout by ``prepare``.

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
            sizes = _sizes(root / "splits.json")
            items = paired_items(images, labels, dataset_dir, section, split_file)
            return [item | _numbers(sizes.get(str(item["case"]), {})) for item in items]
    raise InputError(
        f"dataset_dir {str(dataset_dir)!r} has no images/ and labels/: "
        "run python -m medmamba_monai prepare fetal_head DOWNLOAD DEST first"
    )


def _sizes(file: Path) -> dict[str, dict[str, float]]:
    if not file.is_file():
        return {}
    found: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8")).get("items", {})
    return found


def _numbers(known: dict[str, float]) -> dict[str, object]:
    return {key: float(known.get(key, float("nan"))) for key in ("pixel_mm", "head_circumference_mm")}


def fill_outlines(download: Path, dest: Path, cases: set[str]) -> bool:
    """Turns the publisher's ``training_set/000_HC_Annotation.png``, thin ellipses, into filled heads.

    An ellipse is convex, so its filling is the convex hull of the line, also where the picture cuts it off.

    Args:
        download: the folder with ``training_set`` and its table, in either place.
        dest: folder for ``images/``, ``labels/`` and ``splits.json``.
        cases: the cases that are wanted.

    Returns:
        False when the download has another layout.
    """
    from PIL import Image
    from skimage.morphology import convex_hull_image

    base = next((b for b in (download, download / "training_set") if any(b.glob("*_Annotation.png"))), None)
    table = next((b / TABLE for b in (download, download / "training_set") if (b / TABLE).is_file()), None)
    if base is None or table is None:
        return False
    for part in ("images", "labels"):
        (dest / part).mkdir(parents=True, exist_ok=True)
    files, sizes = stems(base, (".png",)), read_sizes(table)
    for case in sorted(cases & set(files)):
        if f"{case}_Annotation" not in files or case not in sizes:
            raise InputError(f"{case} has no {case}_Annotation.png or no line in {table.name}: download HC18 again")
        Image.open(files[case]).convert("L").save(dest / "images" / f"{case}.png")
        outline = np.asarray(Image.open(files[f"{case}_Annotation"]).convert("L")) > 0
        Image.fromarray(convex_hull_image(outline).astype(np.uint8)).save(dest / "labels" / f"{case}.png")
    (dest / "splits.json").write_text(json.dumps({"items": sizes}), encoding="utf-8")
    return True


def read_sizes(table: str | Path) -> dict[str, dict[str, float]]:
    """Reads pixel size and, where it is known, head circumference from a table with the publisher's columns.

    Args:
        table: CSV file with the columns ``filename``, ``pixel size(mm)`` and perhaps ``head circumference (mm)``.

    Returns:
        ``pixel_mm`` and ``head_circumference_mm`` of each case, a file name without its ending.

    Raises:
        InputError: when there is no such file, or it lacks a column.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "sizes.csv"
        >>> _ = file.write_text("filename,pixel size(mm)\\n000_HC.png,0.0691\\n")
        >>> read_sizes(file)
        {'000_HC': {'pixel_mm': 0.0691}}
    """
    if not Path(table).is_file():
        raise InputError(f"the table {str(table)!r} does not exist: check the path")
    with open(table, newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        lost = [name for name in COLUMNS[:2] if name not in (reader.fieldnames or ())]
        if lost:
            raise InputError(f"the table {str(table)!r} has no column {lost[0]!r}: use HC18's columns")
        rows = list(reader)
    found = {}
    for row in rows:
        numbers = {"pixel_mm": row[COLUMNS[1]], "head_circumference_mm": row.get(COLUMNS[2])}
        found[Path(row["filename"]).stem] = {key: float(number) for key, number in numbers.items() if number}
    return found
