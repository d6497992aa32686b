"""Readers of the picture sets whose classes stand in the split file: both layouts, classes, sites, groups, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets import balanced_weights, blood_cells, skin, tuberculosis

READERS = {
    "blood_cells": (blood_cells, "d1_{}", ["neutrophil", "eosinophil"], ["Dataset 1/{}.bmp", "Dataset 1/{}.bmp"]),
    "tuberculosis": (
        tuberculosis,
        "CHNCXR_{}",
        ["normal", "tuberculosis"],
        ["ChinaSet_AllFiles/CXR_png/CHNCXR_{}.png", "MontgomerySet/CXR_png/CHNCXR_{}.png"],
    ),
    "skin": (skin, "ISIC_{}", ["akiec", "vasc"], [f"HAM10000_images_part_{i}/ISIC_{{}}.jpg" for i in (1, 2)]),
}


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def split_file(folder: Path, case: str, labels: list[str], **more: dict[str, str]) -> Path:
    cases = [case.format(number) for number in ("001", "002", "003")]
    lists = {"train": cases[:2], "val": cases[2:], "test": ["absent"]}
    named = dict(zip(cases, [*labels, labels[0]], strict=True))
    path = folder / "splits.json"
    path.write_text(json.dumps({**lists, "labels": named, **more}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", list(READERS))
@pytest.mark.parametrize("published", [False, True])
def test_both_layouts(name: str, published: bool, tmp_path: Path) -> None:
    reader, case, labels, layout = READERS[name]
    split = split_file(tmp_path, case, labels)
    files = layout if published else [f"images/{case}.png"] * 2
    write(tmp_path / "data", files[0].format("001"), files[1].format("002"), files[0].format("unlisted"))
    found = reader(tmp_path / "data", "train", split)
    assert [item["case"] for item in found] == [case.format("001"), case.format("002")]
    last = {"blood_cells": 3, "tuberculosis": 1, "skin": 6}[name]
    assert [item["label"] for item in found] == [0, last]
    assert all("site" not in item and item["group"] == item["case"] for item in found)


def test_the_masks_beside_the_cells_are_no_pictures(tmp_path: Path) -> None:
    split = split_file(tmp_path, *READERS["blood_cells"][1:3])
    write(tmp_path / "Dataset 1", "001.bmp", "001.png", "002.png")
    assert [item["case"] for item in blood_cells(tmp_path / "Dataset 1", "train", split)] == ["d1_001"]


def test_sites_and_groups(tmp_path: Path) -> None:
    cases = [f"ISIC_{number}" for number in ("001", "002", "003")]
    more = {"groups": {cases[0]: "lesion"}, "sites": dict.fromkeys(cases, "vienna")}
    split = split_file(tmp_path, *READERS["skin"][1:3], **more)
    write(tmp_path / "images", f"{cases[0]}.jpg", f"{cases[1]}.jpg")
    found = skin(tmp_path, "train", split)
    assert [item["group"] for item in found] == ["lesion", cases[1]]
    assert [item["site"] for item in found] == ["vienna", "vienna"]


@pytest.mark.parametrize("name", list(READERS))
def test_refusals(name: str, tmp_path: Path) -> None:
    reader, case, labels, _ = READERS[name]
    split = split_file(tmp_path, case, labels)
    with pytest.raises(InputError, match="is not a folder"):
        reader(tmp_path / "nowhere", "train", split)
    with pytest.raises(InputError, match="has neither"):
        reader(tmp_path, "train", split)
    write(tmp_path / "images", f"{case.format('001')}.png")
    with pytest.raises(InputError, match="no case of the test list"):
        reader(tmp_path, "test", split)


def test_weights_between_even_and_as_found() -> None:
    items: list[dict[str, object]] = [{"label": 0}] * 4 + [{"label": 1}]
    assert balanced_weights(items, 0.5) == [0.5] * 4 + [1.0]
    assert balanced_weights(items, 0.0) == [1.0] * 5
