"""Readers of the bundles' data: both layouts, the splits, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets import (
    SECTIONS,
    balanced_weights,
    breast_ultrasound,
    hippocampus,
    input_files,
)
from medmamba_monai.collection.datasets.hippocampus import hippocampus_subject, split_hippocampus

ROOT = Path(__file__).resolve().parents[2]
HIPPOCAMPUS = ROOT / "bundles" / "umamba_hippocampus_mr_segmentation" / "configs" / "splits.json"
ULTRASOUND = ROOT / "bundles" / "medmamba_breast_ultrasound_classification" / "configs" / "splits.json"
SHARED = ROOT.parent / "shared" / "data"


def split_of(file: Path) -> dict[str, list[str]]:
    return json.loads(file.read_text(encoding="utf-8"))


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def cases(items: list[dict[str, object]]) -> list[object]:
    return [item["case"] for item in items]


def test_no_subject_is_in_two_sections() -> None:
    split = split_of(HIPPOCAMPUS)
    homes: dict[int, set[str]] = {}
    for section in SECTIONS:
        for case in split[section]:
            homes.setdefault(hippocampus_subject(case), set()).add(section)
    assert [subject for subject, found in homes.items() if len(found) > 1] == []
    assert [len(split[section]) for section in SECTIONS] == [180, 28, 24]


def test_no_group_of_near_duplicates_is_in_two_sections() -> None:
    split = json.loads(ULTRASOUND.read_text(encoding="utf-8"))
    homes: dict[str, set[str]] = {}
    for section in SECTIONS:
        for case in split[section]:
            homes.setdefault(str(split["groups"].get(case, case)), set()).add(section)
    assert [group for group, found in homes.items() if len(found) > 1] == []
    assert [len(split[section]) for section in SECTIONS] == [534, 77, 75]


@pytest.mark.parametrize(("file", "name"), [(HIPPOCAMPUS, "msd_hippocampus3d"), (ULTRASOUND, "busi_breast_us_cls")])
def test_the_shipped_lists_are_those_of_the_data(file: Path, name: str) -> None:
    source = SHARED / name / "splits.json"
    if not source.is_file():
        pytest.skip(f"{name} is not beside the repository")
    expected, found = split_of(source), split_of(file)
    assert all(sorted(found[section]) == sorted(expected[section]) for section in SECTIONS)
    excluded = expected.get("excluded_conflicting_duplicates", [])
    assert not set(excluded) & {case for section in SECTIONS for case in found[section]}


def test_unlisted_hippocampi_follow_their_subject_or_train() -> None:
    lists = {"train": ["h_001"], "val": ["h_003"], "test": ["h_006"]}
    found = split_hippocampus(["h_002", "h_004", "h_005", "h_009"], lists)
    assert found == {"train": ["h_002", "h_009"], "val": ["h_004"], "test": ["h_005"]}


@pytest.mark.parametrize("parent", ["", "Task04_Hippocampus"])
def test_the_decathlon_folder_and_its_hidden_files(tmp_path: Path, parent: str) -> None:
    train, test = split_of(HIPPOCAMPUS)["train"][0], split_of(HIPPOCAMPUS)["test"][0]
    for part in ("imagesTr", "labelsTr"):
        fill(tmp_path / parent / part, f"{train}.nii.gz", f"._{train}.nii.gz", f"{test}.nii.gz")
    fill(tmp_path / parent, "dataset.json")
    found = hippocampus(tmp_path, "train", HIPPOCAMPUS)
    assert cases(found) == [train]
    assert str(found[0]["label"]).endswith(f"labelsTr/{train}.nii.gz")
    assert cases(hippocampus(tmp_path, "test", HIPPOCAMPUS)) == [test]


def test_the_plain_folder(tmp_path: Path) -> None:
    train = split_of(HIPPOCAMPUS)["train"][0]
    fill(tmp_path / "images", f"{train}.nii.gz")
    fill(tmp_path / "labels", f"{train}.nii.gz")
    found = hippocampus(tmp_path, "train", HIPPOCAMPUS)
    assert cases(found) == [train] and found[0]["group"] == str(hippocampus_subject(train))


@pytest.mark.parametrize("parent", ["", "Dataset_BUSI_with_GT"])
def test_the_publishers_class_folders_without_masks(tmp_path: Path, parent: str) -> None:
    split = split_of(ULTRASOUND)
    for label in ("normal", "benign", "malignant"):
        numbers = [case.split("_")[1] for case in split["val"] if case.startswith(label)]
        names = [f"{label} ({n}){end}.png" for n in numbers for end in ("", "_mask", "_mask_1")]
        fill(tmp_path / parent / label, *names, f"{label} (99999).png")
    found = breast_ultrasound(tmp_path, "val", ULTRASOUND)
    assert sorted(map(str, cases(found))) == sorted(split["val"])
    assert {str(i["case"]).split("_")[0]: i["label"] for i in found} == {"normal": 0, "benign": 1, "malignant": 2}
    assert not any("_mask" in str(item["image"]) for item in found)


def test_near_duplicates_share_a_group(tmp_path: Path) -> None:
    split = json.loads(ULTRASOUND.read_text(encoding="utf-8"))
    fill(tmp_path / "images", *(f"{case}.jpg" for case in split["train"]))
    found = breast_ultrasound(tmp_path, "train", ULTRASOUND)
    assert len({item["group"] for item in found}) < len(found) == 534


@pytest.mark.parametrize("reader", [hippocampus, breast_ultrasound])
def test_other_layouts_are_refused(reader, tmp_path: Path) -> None:
    file = HIPPOCAMPUS if reader is hippocampus else ULTRASOUND
    with pytest.raises(InputError, match="is not a folder"):
        reader(tmp_path / "nowhere", "train", file)
    with pytest.raises(InputError, match="has neither"):
        reader(tmp_path, "train", file)
    fill(tmp_path / "images")
    fill(tmp_path / "labels")
    with pytest.raises(InputError, match="no case of the train list"):
        reader(tmp_path, "train", file)
    with pytest.raises(InputError, match="section 'all' is unknown"):
        reader(tmp_path, "all", file)
    with pytest.raises(InputError, match="does not exist"):
        reader(tmp_path, "train", tmp_path / "none.json")


def test_an_image_without_label_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "images", "hippocampus_001.nii.gz")
    fill(tmp_path / "labels")
    with pytest.raises(InputError, match="has an image but no label"):
        hippocampus(tmp_path, "train", HIPPOCAMPUS)


def test_weights_draw_every_class_equally_often() -> None:
    items: list[dict[str, object]] = [{"label": 0}] * 3 + [{"label": 1}]
    weights = balanced_weights(items)
    assert sum(weights[:3]) == pytest.approx(weights[3])


def test_inputs_of_inference(tmp_path: Path) -> None:
    fill(tmp_path / "images", "a.nii.gz", "b.png", "._b.png", "notes.txt")
    assert cases(input_files("", tmp_path)) == ["a", "b"]
    assert cases(input_files("", tmp_path / "images")) == ["a", "b"]
    assert input_files(tmp_path / "images" / "a.nii.gz", "unused")[0]["case"] == "a"
    with pytest.raises(InputError, match="does not exist"):
        input_files(tmp_path / "c.nii", "")
    with pytest.raises(InputError, match="holds no image"):
        input_files("", fill(tmp_path / "empty"))
