"""The reader of paired brain slices: both layouts, inference, preparation, and what the label server says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets import brain_pairs, check_brain_pairs, input_brain_pairs
from medmamba_monai.collection.prepare import prepare

CASES = {"train": ["CT-MRI_1001", "PET-MRI_7"], "val": ["CT-MRI_2001"], "test": ["SPECT-MRI_9"]}


def lists(folder: Path) -> Path:
    file = folder / "lists.json"
    sites = {case: case.split("-")[0].lower() for cases in CASES.values() for case in cases}
    file.write_text(json.dumps(CASES | {"groups": {"CT-MRI_1001": "case01"}, "sites": sites}), encoding="utf-8")
    return file


def picture(file: Path, size: tuple[int, int] = (12, 10), colours: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    array = np.full((size[1], size[0], 3) if colours else (size[1], size[0]), 90, np.uint8)
    Image.fromarray(array).save(file)


def published(folder: Path) -> Path:
    for case in sum(CASES.values(), []):
        pair, name = case.split("_")
        picture(folder / pair / "MRI" / f"{name}.png")
        picture(folder / pair / pair.split("-")[0] / f"{name}.png", colours=pair != "CT-MRI")
    return folder


def test_the_published_folders(tmp_path: Path) -> None:
    root = published(tmp_path / "atlas")
    first, second = brain_pairs(root, "train", lists(tmp_path))
    assert first["image"] == str(root / "CT-MRI" / "MRI" / "1001.png") and first["group"] == "case01"
    assert second["second"] == str(root / "PET-MRI" / "PET" / "7.png")
    assert (second["case"], second["group"], second["site"]) == ("PET-MRI_7", "PET-MRI_7", "pet")
    (root / "PET-MRI" / "PET" / "7.png").unlink()
    with pytest.raises(InputError, match="'PET-MRI_7'.* has no slice of the other modality"):
        brain_pairs(root, "train", lists(tmp_path))
    with pytest.raises(InputError, match="has neither images/ and second/"):
        brain_pairs(tmp_path, "train", lists(tmp_path))


def test_preparation_gives_a_layout_that_is_read_again(tmp_path: Path) -> None:
    split = lists(tmp_path)
    assert prepare("brain_pairs", published(tmp_path / "atlas"), tmp_path / "out", split) == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    (item,) = brain_pairs(tmp_path / "out", "test", split)
    assert item["image"] == str(tmp_path / "out" / "images" / "SPECT-MRI_9.png")
    assert item["second"] == str(tmp_path / "out" / "second" / "SPECT-MRI_9.png")
    assert [i["case"] for i in input_brain_pairs("", "", tmp_path / "out")] == sorted(sum(CASES.values(), []))


def test_inference_wants_a_partner_of_one_size(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match="no partner: give the slice of the other modality with --second"):
        input_brain_pairs(tmp_path / "images" / "a.png", "", tmp_path)
    picture(tmp_path / "second" / "b.png", size=(10, 10))
    with pytest.raises(InputError, match="'a' has no file in .*second: add its partner"):
        input_brain_pairs("", "", tmp_path)
    (item,) = input_brain_pairs(tmp_path / "images" / "a.png", tmp_path / "second" / "b.png", tmp_path)
    assert item["case"] == "a" and item["second"] == str(tmp_path / "second" / "b.png")
    with pytest.raises(InputError, match="export both on one grid"):
        check_brain_pairs([item])
