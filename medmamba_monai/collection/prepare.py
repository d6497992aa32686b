"""``python -m medmamba_monai prepare``: from a publisher's download to the folder that a bundle trains on."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

from medmamba_monai.collection.checks import InputError, check_items
from medmamba_monai.collection.datasets import SECTIONS, SETS, DataSet
from medmamba_monai.collection.datasets.common import Item, open_folder, read_split
from medmamba_monai.collection.savers import replacing

__all__ = ["main", "prepare"]

# key of an item -> folder of its files
PARTS = {"image": "images", "label": "labels", "second": "second", "ptv": "ptv", "dose": "dose"}
BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


def main(argv: Sequence[str]) -> int:
    """Prepares one data set, prints the number of cases, and returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(
        prog="python -m medmamba_monai prepare", description="Check a public data set and lay it out for a bundle."
    )
    parser.add_argument("set", choices=list(SETS), help="name of the data set")
    parser.add_argument("source", help="folder of the download")
    parser.add_argument("dest", help="new folder")
    parser.add_argument("--splits", help="split list, when not the one of the bundle: BUNDLE/configs/splits.json")
    options = parser.parse_args(argv)
    splits = options.splits or BUNDLES / SETS[options.set].bundle / "configs" / "splits.json"
    counts = prepare(options.set, options.source, options.dest, splits)
    print(f"{options.dest}: " + ", ".join(f"{count} {section}" for section, count in counts.items()))
    return 0


def prepare(name: str, source: str | Path, dest: str | Path, split_file: str | Path) -> dict[str, int]:
    """Copies a public data set into the layout ``images/``, ``labels/``, ``splits.json``, after checking every file.

    Args:
        name: a name of ``datasets.SETS``.
        source: folder of the download, in a layout that the reader of the set knows.
        dest: new or empty folder.
        split_file: split list of the bundle, ``configs/splits.json``.

    Returns:
        Number of cases by section.

    Raises:
        InputError: for an unknown set, a folder that is not empty, or a fault in the data.
    """
    if name not in SETS:
        raise InputError(f"data set {name!r} is unknown: use one of {', '.join(SETS)}")
    folder = Path(dest).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{str(dest)!r} is not empty: give a new folder")
    data = SETS[name]
    with TemporaryDirectory() as scratch:
        wanted = {case for cases in read_split(split_file).values() for case in cases}
        download = open_folder(source, "source")
        converted = data.convert is not None and data.convert(download, Path(scratch), wanted)
        return _lay_out(data, scratch if converted else download, folder, split_file)


def _lay_out(data: DataSet, source: str | Path, folder: Path, split_file: str | Path) -> dict[str, int]:
    split = {section: data.reader(source, section, split_file) for section in SECTIONS}
    for items in split.values():
        check_items(items, data.spatial_dims, data.channels)
    for item in (item for items in split.values() for item in items):
        for key, part in PARTS.items():
            if isinstance(item.get(key), str):
                _copy(str(item[key]), folder / part, str(item["case"]))
    names: dict[str, object] = {section: [item["case"] for item in items] for section, items in split.items()}
    numbers = {str(item["case"]): _numbers(item) for items in split.values() for item in items}
    names |= {"items": numbers} if any(numbers.values()) else {}
    with replacing(folder / "splits.json") as temporary:
        Path(temporary).write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    return {section: len(items) for section, items in split.items()}


def _numbers(item: Item) -> dict[str, float]:
    """What a reader measures a case by, such as the size of its pixels; the label is none of it."""
    return {key: number for key, number in item.items() if isinstance(number, float) and isfinite(number)}


def _copy(file: str, folder: Path, case: str) -> None:
    suffix = ".nii.gz" if file.endswith(".nii.gz") else os.path.splitext(file)[1]
    with replacing(folder / (case + suffix)) as temporary:
        shutil.copyfile(file, temporary)
