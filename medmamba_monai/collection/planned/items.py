"""What the configs of a planned bundle call for data: lists of items, folds, weights of channels."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform

from medmamba_monai.autoconfig.cases import Case, DataFault, input_cases, open_data, stem
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets.common import Item

__all__ = ["ByChanneld", "JoinedFilesd", "make_folds", "planned_inputs", "planned_items"]


def make_folds(cases: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[dict[str, list[str]]]:
    """Spread cases over folds so that a group lies in one; every fold validates on about as many cases.

    Args:
        cases: each with ``case`` and ``group``.
        count: folds.
        seed: of the order in which groups are dealt.

    Example:
        >>> cases = [{"case": f"c{i}", "group": f"g{i // 2}"} for i in range(6)]
        >>> [fold["val"] for fold in make_folds(cases, 3, 0)]
        [['c4', 'c5'], ['c2', 'c3'], ['c0', 'c1']]
    """
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(str(case["group"]), []).append(str(case["case"]))
    order = sorted(groups)
    np.random.RandomState(seed).shuffle(order)
    held: list[list[str]] = [[] for _ in range(count)]
    for group in sorted(order, key=lambda name: -len(groups[name])):  # stable: the large ones first
        min(held, key=len).extend(groups[group])
    names = sorted(str(case["case"]) for case in cases)
    return [{"train": [n for n in names if n not in set(fold)], "val": sorted(fold)} for fold in held]


def planned_items(
    dataset_dir: str | Path, section: str, split_file: str | Path, fold: int = 0, previous: str | Path | None = None
) -> list[Item]:
    """The items of one section of a data folder, in any layout that ``plan`` reads.

    Args:
        dataset_dir: folder of the data, or a datalist's JSON file.
        section: train, val or test.
        split_file: the bundle's ``configs/splits.json``.
        fold: fold of train and val.
        previous: folder of the folds of a cascade's first stage, whose label maps become ``previous``; each case takes
            that of the fold which did not learn from it, test cases none.

    Raises:
        InputError: the folder, a case or a label map is missing, or there is no such section.
    """
    try:
        split = json.loads(Path(split_file).read_text(encoding="utf-8"))
        data = open_data(dataset_dir)
    except DataFault as fault:
        raise InputError(str(fault)) from None
    if section != "test" and not 0 <= fold < len(split["folds"]):
        raise InputError(f"fold {fold} does not exist: the folds are 0 to {len(split['folds']) - 1}")
    names = split["test"] if section == "test" else split["folds"][fold].get(section)
    if not names:
        raise InputError(f"section {section!r} of fold {fold} holds no case: use train or val")
    known: dict[str, Case] = {case.name: case for case in data.cases}
    lost = [name for name in names if name not in known]
    if lost:
        raise InputError(f"case {lost[0]!r} is not in {dataset_dir}: give the data set that was planned")
    items: list[Item] = []
    for name in names:
        case = known[name]
        group = split["groups"].get(name, name)
        items.append({"image": _image(case.images), "label": str(case.label), "case": name, "group": group})
        if previous is not None and section != "test":
            items[-1]["previous"] = _label_map(Path(previous), split["folds"], name, case)
    return items


def _label_map(previous: Path, folds: Sequence[Mapping[str, Sequence[str]]], name: str, case: Case) -> str:
    held = next(number for number, fold in enumerate(folds) if name in fold["val"])
    file = previous / f"fold_{held}" / "validation" / f"{stem(case.images[0])}_seg.nii.gz"
    if not file.is_file():
        raise InputError(f"{file} is missing: train the first stage, too, with python -m medmamba_monai train BUNDLE")
    return str(file)


def planned_inputs(image: str | Path, dataset_dir: str | Path, files: int = 1) -> list[Item]:
    """What inference shall read: one image, or every image of a folder.

    Args:
        image: one file; empty to read ``dataset_dir``. Of channels in several files, any one of them.
        dataset_dir: folder with images.
        files: files of one case.

    Raises:
        InputError: nothing is there.
    """
    try:
        found = input_cases(str(image) or dataset_dir, files)
    except DataFault as fault:
        raise InputError(str(fault)) from None
    return [{"image": _image(group), "case": name} for name, group in found.items()]


def _image(files: Sequence[Path]) -> str | list[str]:
    return str(files[0]) if len(files) == 1 else [str(file) for file in files]


class ByChanneld(MapTransform):
    """Give each channel a transform of its own, such as a normalisation.

    Args:
        keys: keys of images.
        transforms: one transform of arrays (1, *S) a channel.

    Example:
        >>> change = ByChanneld("image", [lambda x: x + 1, lambda x: x * 0])
        >>> change({"image": torch.ones(2, 1)})["image"].tolist()
        [[2.0], [0.0]]
    """

    def __init__(self, keys: KeysCollection, transforms: Sequence[Callable[[Any], Any]]) -> None:
        super().__init__(keys)
        self.transforms = tuple(transforms)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key].float().clone()
            for channel, change in enumerate(self.transforms):
                image[channel : channel + 1] = torch.as_tensor(change(image[channel : channel + 1]))
            item[key] = image
        return item


class JoinedFilesd(MapTransform):
    """Let an image whose channels came from several files be saved like one from a single file.

    MONAI's reader notes a channel axis of the joined files, and its writer then looks for one in a label map.

    Args:
        keys: keys of images with their channels first.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key].meta["original_channel_dim"] = float("nan")
        return item
