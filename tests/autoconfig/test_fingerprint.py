"""Data folders of all layouts: what is found in them, and how their faults are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medmamba_monai.autoconfig.cases import DataFault, input_cases, open_data
from medmamba_monai.autoconfig.fingerprint import fingerprint
from tests.autoconfig.conftest import arrays, volume

Make = Callable[..., Path]


@pytest.mark.parametrize("layout", ["decathlon", "nnunet", "datalist", "plain"])
def test_every_layout_is_read(make: Make, layout: str) -> None:
    data = open_data(make(layout))
    found = fingerprint(data)
    assert (data.layout, found["layout"]) == (layout, layout)
    assert (
        found["training_cases"]
        == len(found["by_case"])
        == {"decathlon": 6, "nnunet": 5, "datalist": 4, "plain": 6}[layout]
    )
    json.dumps(found, allow_nan=False)
    assert fingerprint(open_data(data.root)) == found


def test_volumes(make: Make) -> None:
    found = fingerprint(open_data(make("decathlon")))
    assert (found["spatial_dims"], found["channels"]) == (3, ["MRI"])
    assert found["labels"] == {"background": 0, "front": 1, "back": 2} and found["label_values"] == [0, 1, 2]
    assert found["spacing"]["median"] == [1.0, 1.0, 2.0] and found["shape"]["median"] == [20.0, 24.0, 16.0]
    images, labels = zip(*(arrays(case) for case in range(6)), strict=True)
    inside = np.concatenate([image[label > 0] for image, label in zip(images, labels, strict=True)])
    assert found["foreground"][0]["mean"] == pytest.approx(inside.mean(), rel=1e-4)
    assert found["foreground"][0]["percentile_99_5"] == pytest.approx(np.percentile(inside, 99.5), rel=1e-3)
    front = np.mean([(label == 1).mean() for label in labels])
    assert found["class_sizes"]["front"] == {"cases": 6, "share": pytest.approx(front, rel=1e-4)}


def test_channels_in_files_are_joined(make: Make) -> None:
    found = fingerprint(open_data(make("nnunet")))
    assert found["channels"] == ["CT", "PET"] and found["files_per_case"] == 2
    first, second = (part["mean"] for part in found["foreground"])
    assert second == pytest.approx(2 * first + 3, rel=1e-4)


def test_pictures_with_a_split_list(make: Make) -> None:
    data = open_data(make("plain"))
    found = fingerprint(data)
    assert (found["spatial_dims"], found["channels"], found["test_cases"]) == (2, ["red", "green", "blue"], 2)
    assert found["labels"] == {"background": 0, "foreground": 1} and found["label_values"] == [0, 255]
    assert {c["group"] for c in found["by_case"]} >= {"twins"} and found["groups"] == 5


def test_the_zero_border_is_cropped_and_axes_are_turned(tmp_path: Path) -> None:
    for case in range(2):
        image, label = arrays(case)
        turned = np.array([[0, 0, 3.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])  # stored A, S, R
        for part, array in (("images", np.pad(image, 5)), ("labels", np.pad(label, 5))):
            (tmp_path / part).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, turned), tmp_path / part / f"{case}.nii.gz")
    found = fingerprint(open_data(tmp_path))
    assert found["by_case"][0]["cropped"] == [16, 20, 24] and found["by_case"][0]["shape"] == [26, 30, 34]
    assert found["spacing"]["median"] == [3.0, 1.0, 1.0] and found["share_after_crop"] < 0.75


def spoil(root: Path, fault: str) -> None:
    """Put one fault into case 1 of a Decathlon folder."""
    image, label = arrays(1)
    image_file, label_file = (root / part / "case_1.nii.gz" for part in ("imagesTr", "labelsTr"))
    if fault == "missing label":
        about = json.loads((root / "dataset.json").read_text())
        del about["training"][1]["label"]
        (root / "dataset.json").write_text(json.dumps(about))
    elif fault == "lost file":
        label_file.unlink()
    elif fault == "broken file":
        image_file.write_bytes(image_file.read_bytes()[:300])
    elif fault == "shape":
        volume(label_file, label[:-2])
    elif fault == "affine":
        volume(label_file, label, (1.0, 1.0, 2.5))
    elif fault == "unknown value":
        volume(label_file, np.where(label == 2, 5, label).astype(np.uint8))
    elif fault == "single slice":
        volume(image_file, image[..., :1])
        volume(label_file, label[..., :1])
    elif fault == "constant":
        volume(image_file, np.full_like(image, 7))
    elif fault == "nan":
        image[0, 0, 0] = np.nan
        volume(image_file, image)
    elif fault == "fraction":
        volume(label_file, label * np.float32(0.5))
    elif fault == "absent class":
        about = json.loads((root / "dataset.json").read_text())
        about["labels"]["3"] = "tail"
        (root / "dataset.json").write_text(json.dumps(about))


FAULTS = {
    "missing label": "case case_1: the label is missing: add it",
    "lost file": "case_1.nii.gz does not exist: restore it",
    "broken file": "cannot be read as an image",
    "shape": r"the label has shape \(18, 24, 16\), the image \(20, 24, 16\)",
    "affine": "label or channel has another affine than the image",
    "unknown value": r"the label holds \[5\], but the classes are \[0, 1, 2\]",
    "single slice": r"shape \(20, 24, 1\) is a single slice",
    "constant": "channel 0 is constant",
    "nan": "holds NaN or infinite voxels",
    "fraction": "numbers that are no classes",
    "absent class": "class 'tail' is in no label",
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_each_fault_is_told(make: Make, fault: str) -> None:
    root = make("decathlon")
    spoil(root, fault)
    with pytest.raises(DataFault, match=FAULTS[fault]):
        fingerprint(open_data(root))


def test_faults_between_channel_files_and_cases(make: Make) -> None:
    root = make("nnunet")
    image, label = arrays(1)
    for case, array, spacing in ((0, image[:-1], (1.0, 1.0, 2.0)), (2, image, (1.0, 1.5, 2.0))):
        volume(root / "imagesTr" / f"c{case}_0001.nii.gz", array, spacing)
    volume(root / "labelsTr" / "c3.nii.gz", np.stack([label, label], -1))
    (root / "labelsTr" / "c4.nii.gz").unlink()
    with pytest.raises(DataFault) as told:
        fingerprint(open_data(root))
    lines = str(told.value).splitlines()
    assert lines[0].endswith("have 4 faults:") and [line[2:9] for line in lines[1:]] == [
        "case c0",
        "case c2",
        "case c3",
        "case c4",
    ]
    for line, part in zip(
        lines[1:], ("export them on one grid", "another affine", "2 channels", "is missing"), strict=True
    ):
        assert part in line


@pytest.mark.parametrize("fault", ["empty", "gap", "channels"])
def test_faults_of_the_whole_set(make: Make, fault: str) -> None:
    if fault == "channels":
        root = make("decathlon")
        volume(root / "imagesTr" / "case_1.nii.gz", np.stack([arrays(1)[0]] * 2, -1))
        told = "case case_1: 2 channels, but most cases have 1: give all the same"
    elif fault == "gap":
        root = make("decathlon")
        about = json.loads((root / "dataset.json").read_text())
        about["labels"] = {"0": "background", "1": "front", "2": "back", "4": "tail"}
        (root / "dataset.json").write_text(json.dumps(about))
        told = r"the class numbers are \[0, 1, 2, 4\]: number them 0, 1, 2, ... without a gap"
    else:
        root = make("datalist")
        for case in range(4):
            volume(root.parent / "labelsTr" / f"case_{case}.nii.gz", arrays(case)[1] * 0)
        told = "every label is empty: nothing can be learned"
    with pytest.raises(DataFault, match=told):
        fingerprint(open_data(root))


def test_all_faults_are_told_at_once(make: Make) -> None:
    root = make("decathlon")
    spoil(root, "constant")
    volume(root / "labelsTr" / "case_4.nii.gz", arrays(4)[1][:-1])
    with pytest.raises(DataFault) as told:
        fingerprint(open_data(root))
    assert "2 faults" in str(told.value) and str(told.value).count("\n- ") == 2


def test_folders_that_are_no_data_set(make: Make, tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="does not exist"):
        open_data(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFault, match="none of the known layouts: nnU-Net raw"):
        open_data(tmp_path / "empty")
    root = make("nnunet")
    about = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**about, "labels": {"background": 0, "whole": [1, 2]}}))
    with pytest.raises(DataFault, match="regions or an ignore label"):
        open_data(root)
    (root / "dataset.json").write_text(json.dumps({**about, "numTraining": 9}))
    with pytest.raises(DataFault, match="numTraining 9, but imagesTr holds 5"):
        open_data(root)


def test_groups_of_a_file(make: Make, tmp_path: Path) -> None:
    root = make("decathlon")
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({f"case_{i}": f"head{i // 2}" for i in range(6)}))
    assert fingerprint(open_data(root, groups))["groups"] == 3


def test_images_to_predict(make: Make) -> None:
    root = make("nnunet")
    assert len(input_cases(root / "imagesTr", 2)) == 5
    one = input_cases(root / "imagesTr" / "c1_0000.nii.gz", 2)
    assert list(one) == ["c1"] and len(one["c1"]) == 2
    with pytest.raises(DataFault, match="2 files; 1 file|files; 3"):
        input_cases(root / "imagesTr", 3)
