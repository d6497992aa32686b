"""Readers of the segmentation sets: polyps, nuclei, heart, head and neck; their publishers' layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets import SECTIONS, cardiac, head_neck, nuclei, polyps
from medmamba_monai.collection.datasets.head_neck import TABLES
from medmamba_monai.collection.prepare import prepare

LISTS: dict[str, list[str]] = {"train": ["a1", "a2"], "val": ["b1"], "test": ["c1"]}


def split_file(folder: Path, split: dict[str, list[str]], **more: dict[str, str]) -> Path:
    file = folder / "lists.json"
    file.write_text(json.dumps(split | more), encoding="utf-8")
    return file


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("reader", "labels", "image", "label"),
    [
        (polyps, "masks", "a1.jpg", "a1.png"),
        (polyps, "labels", "a1.png", "a1.png"),
        (nuclei, "masks", "a1.jpg", "a1.png"),
        (cardiac, "labels", "a1.nii.gz", "a1.nii.gz"),
        (head_neck, "labels", "a1.nii.gz", "a1.nii.gz"),
    ],
)
def test_the_plain_layout(reader: Callable, labels: str, image: str, label: str, tmp_path: Path) -> None:
    lists = split_file(tmp_path, LISTS, groups={"a1": "7"}, sites={"a1": "kind"})
    fill(tmp_path / "images", image, "other" + image, "._" + image)
    fill(tmp_path / labels, label)
    (item,) = reader(tmp_path, "train", lists)
    assert (item["case"], item["group"], item["site"]) == ("a1", "7", "kind")
    assert item["image"] == str(tmp_path / "images" / image) and item["label"] == str(tmp_path / labels / label)
    with pytest.raises(InputError, match="no case of the val list"):
        reader(tmp_path, "val", lists)
    (tmp_path / labels / label).unlink()
    with pytest.raises(InputError, match="'a1'.* has an image but no label"):
        reader(tmp_path, "train", lists)


@pytest.mark.parametrize("reader", [polyps, nuclei, cardiac, head_neck])
def test_other_layouts_are_refused(reader: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has neither|prepare"):
        reader(tmp_path, "train", split_file(tmp_path, LISTS))


@pytest.mark.parametrize("parent", ["", "training", "database/training"])
def test_acdcs_own_folders(parent: str, tmp_path: Path) -> None:
    patient = tmp_path / parent / "patient007"
    frames = [f"patient007_frame{n:02d}{end}.nii.gz" for n in (1, 7) for end in ("", "_gt")]
    fill(patient, *frames, "patient007_4d.nii.gz")
    (patient / "Info.cfg").write_text("ED: 1\nES: 7\nGroup: DCM\nNbFrame: 16\n", encoding="utf-8")
    lists = split_file(tmp_path, {"train": ["patient007_ED", "patient007_ES"], "val": [], "test": []})
    first, second = cardiac(tmp_path, "train", lists)
    assert str(first["image"]).endswith("frame01.nii.gz") and str(second["label"]).endswith("frame07_gt.nii.gz")
    (patient / "Info.cfg").write_text("ED: 1\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no line 'ES"):
        cardiac(tmp_path, "train", lists)


def test_prepare_merges_the_nuclei_of_the_publisher(tmp_path: Path) -> None:
    names = [letter * 64 for letter in "abc"]
    for name in names:
        for part in ("images", "masks"):
            (tmp_path / "stage1_train" / name / part).mkdir(parents=True)
        Image.new("RGBA", (12, 10)).save(tmp_path / "stage1_train" / name / "images" / f"{name}.png")
        for column in (0, 8):
            mask = np.zeros((10, 12), np.uint8)
            mask[2:5, column : column + 3] = 255
            Image.fromarray(mask).save(tmp_path / "stage1_train" / name / "masks" / f"{column}.png")
    lists = split_file(tmp_path, {section: [name[:12]] for section, name in zip(SECTIONS, names, strict=True)})
    assert prepare("nuclei", tmp_path, tmp_path / "out", lists) == {"train": 1, "val": 1, "test": 1}
    label = np.asarray(Image.open(tmp_path / "out" / "labels" / f"{'a' * 12}.png"))
    assert label.shape == (10, 12) and set(np.unique(label)) == {0, 1, 2} and (label == 2).sum() == 9
    assert len(nuclei(tmp_path / "out", "test", tmp_path / "out" / "splits.json")) == 1


def write_table(file: Path, places: list[int], values: list[float] | None = None) -> None:
    numbers = values or [""] * len(places)
    rows = [f"{place},{number}" for place, number in zip(places, numbers, strict=True)]
    file.write_text("\n".join([",data", *rows]) + "\n", encoding="utf-8")


def test_prepare_turns_tables_into_volumes(tmp_path: Path) -> None:
    for name in ("pt_1", "pt_2", "pt_3", "pt_9"):
        patient = fill(tmp_path / "provided-data" / "train-pats" / name)
        write_table(patient / "ct.csv", [0, 128, 16384], [1024.0, 1064.0, 24.0])
        for number, organ in enumerate(TABLES):
            write_table(patient / f"{organ}.csv", [number, 128])
        (patient / "voxel_dimensions.csv").write_text("4.0\n4.0\n2.5\n", encoding="utf-8")
    lists = split_file(tmp_path, {"train": ["pt_1"], "val": ["pt_2"], "test": ["pt_3"]})
    prepare("head_neck", tmp_path, tmp_path / "out", lists)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3
    image = nib.load(tmp_path / "out" / "images" / "pt_1.nii.gz")
    ct, label = np.asarray(image.dataobj), np.asarray(nib.load(tmp_path / "out" / "labels" / "pt_1.nii.gz").dataobj)
    assert (ct[0, 0, 0], ct[0, 1, 0], ct[1, 0, 0], ct[5, 5, 5]) == (0, 40, -1000, -1024)
    assert label[0, 0, :5].tolist() == [1, 2, 3, 4, 5] and label[0, 1, 0] == 5
    assert nib.aff2axcodes(image.affine) == ("P", "L", "I") and image.header.get_zooms() == (4.0, 4.0, 2.5)
    (tmp_path / "provided-data" / "train-pats" / "pt_2" / "Mandible.csv").unlink()
    with pytest.raises(InputError, match="has no Mandible.csv"):
        prepare("head_neck", tmp_path, tmp_path / "second", lists)
