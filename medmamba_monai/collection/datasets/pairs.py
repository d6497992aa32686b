"""Pairs of images for registration: between persons, between phases of a heart, and what inference shall read."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import IMAGE_SUFFIXES, Item, file_stem, open_folder, stems
from medmamba_monai.collection.datasets.hippocampus import hippocampus
from medmamba_monai.collection.datasets.left_ventricle import left_ventricle


def hippocampus_pairs(dataset_dir: str | Path, section: str, split_file: str | Path, partners: int = 1) -> list[Item]:
    """Lists pairs of hippocampus volumes of different persons: each volume is the fixed one of some pairs.

    The pairs are drawn with a fixed seed, so they are the same in every run.

    Args:
        dataset_dir: folder with the data, as :func:`hippocampus` reads it.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.
        partners: moving volumes for each fixed one.

    Raises:
        InputError: as :func:`hippocampus`, and when the section has only one person.
    """
    return pairs_between(hippocampus(dataset_dir, section, split_file), partners)


def pairs_between(items: Sequence[Item], partners: int = 1, seed: int = 0) -> list[Item]:
    """Pairs every item, as the fixed one, with items of other groups.

    Args:
        items: a datalist with ``image``, ``label``, ``case`` and ``group``.
        partners: moving items for each fixed one; fewer where there are fewer.
        seed: seed of the draw.

    Raises:
        InputError: when all items are of one group.

    Example:
        >>> items = [{"image": f"{n}.png", "label": f"{n}l.png", "case": n, "group": n} for n in "abc"]
        >>> [pair["case"] for pair in pairs_between(items)]
        ['c_to_a', 'c_to_b', 'a_to_c']
    """
    draw, pairs = random.Random(seed), []
    for fixed in items:
        others = [item for item in items if item["group"] != fixed["group"]]
        if not others:
            raise InputError(f"only {fixed['group']!r} is in the list: a pair needs images of two persons")
        pairs += [_pair(fixed, moving) for moving in draw.sample(others, min(partners, len(others)))]
    return pairs


def left_ventricle_pairs(dataset_dir: str | Path, section: str, split_file: str | Path) -> list[Item]:
    """Lists the pairs of end diastole (moving) and end systole (fixed) of the Sunnybrook data, slice by slice.

    Args:
        dataset_dir: folder with the data, as :func:`left_ventricle` reads it.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections, and ``pairs``: for each section the case
            names [end diastole, end systole].

    Raises:
        InputError: as :func:`left_ventricle`, and when the section has no pair there.
    """
    found = {str(item["case"]): item for item in left_ventricle(dataset_dir, section, split_file)}
    with Path(split_file).open(encoding="utf-8") as stream:
        named: list[list[str]] = json.load(stream).get("pairs", {}).get(section, [])
    pairs = [_pair(found[late], found[early]) for early, late in named if early in found and late in found]
    if not pairs:
        raise InputError(f"dataset_dir {str(dataset_dir)!r} holds no pair of the {section} list: check the case names")
    return pairs


def _pair(fixed: Item, moving: Item) -> Item:
    pair = {"fixed": fixed["image"], "moving": moving["image"], "label": fixed["label"]}
    pair |= {"carried": moving["label"], "case": f"{moving['case']}_to_{fixed['case']}", "group": fixed["group"]}
    return pair | ({"site": fixed["site"]} if "site" in fixed else {})


def input_pairs(fixed: str | Path, moving: str | Path, dataset_dir: str | Path) -> list[Item]:
    """Lists the pairs that inference shall register: two files, a folder of pairs, or a list of them.

    Args:
        fixed: the fixed image; empty to read ``dataset_dir``.
        moving: the moving image.
        dataset_dir: folder with ``fixed/`` and ``moving/``, where files of one name are a pair; or a CSV file with the
            columns ``fixed`` and ``moving``, whose paths are relative to it.

    Raises:
        InputError: when one image of a pair is missing, or nothing readable is there.
    """
    if str(fixed) or str(moving):
        return [_named(Path(fixed), Path(moving))]
    path = Path(dataset_dir).expanduser()
    if path.is_file():
        return [_named(path.parent / one, path.parent / other) for one, other in _rows(path)]
    root = open_folder(dataset_dir, "dataset_dir")
    lost = next((part for part in ("fixed", "moving") if not (root / part).is_dir()), None)
    if lost is not None:
        raise InputError(f"{str(root)!r} has no folder {lost}/: give --fixed FILE --moving FILE, or fixed/ and moving/")
    suffixes = sorted(IMAGE_SUFFIXES, key=len, reverse=True)
    there, here = stems(root / "moving", suffixes), stems(root / "fixed", suffixes)
    if not here:
        raise InputError(f"{str(root / 'fixed')!r} holds no image: known endings are {', '.join(IMAGE_SUFFIXES)}")
    alone = sorted(set(here) ^ set(there))
    if alone:
        raise InputError(f"{alone[0]!r} in {str(root)!r} is only in one of fixed/ and moving/: add its partner")
    return [{"fixed": str(here[case]), "moving": str(there[case]), "case": case} for case in here]


def _named(fixed: Path, moving: Path) -> Item:
    for what, path in (("fixed", fixed), ("moving", moving)):
        if path == Path() or not path.expanduser().exists():
            raise InputError(f"{what} {str(path)!r} does not exist: give --fixed FILE and --moving FILE")
    case = f"{file_stem(moving)}_to_{file_stem(fixed)}"
    return {"fixed": str(fixed.expanduser()), "moving": str(moving.expanduser()), "case": case}


def _rows(file: Path) -> Iterable[tuple[str, str]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"fixed", "moving"} <= set(rows[0]):
        raise InputError(f"{file} has no rows with the columns fixed and moving: add them")
    return [(row["fixed"].strip(), row["moving"].strip()) for row in rows]
