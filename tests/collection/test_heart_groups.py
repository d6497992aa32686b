"""Groups of heart disease: pairs of phases as one image of two channels, and the regression on volumes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from medmamba_monai.collection.checks import InputError, check_items
from medmamba_monai.collection.datasets import heart_groups, input_hearts
from medmamba_monai.collection.heart_volumes import VolumeRegression, heart_ratios

LISTS = {"train": ["p1", "p2"], "val": ["p3"], "test": ["p4"], "labels": {"p1": "RV", "p2": "NOR", "p3": "DCM"}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for patient in ("p1", "p2", "p3"):
            for number, phase in enumerate(("ED", "ES")):
                array = np.full((8, 8, 3), number + 1, np.uint8)
                nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / part / f"{patient}_{phase}.nii.gz")
    (tmp_path / "lists.json").write_text(json.dumps(LISTS))
    return tmp_path


def test_both_phases_become_two_channels(data: Path) -> None:
    items = heart_groups(data, "train", data / "lists.json")
    assert [(item["case"], item["label"], item["group"]) for item in items] == [("p1", 4, "p1"), ("p2", 3, "p2")]
    check_items([{"image": item["image"]} for item in items], 3)
    loaded = Compose([LoadImaged("image"), EnsureChannelFirstd("image")])(items[0])["image"]
    assert loaded.shape == (2, 8, 8, 3) and loaded[0].unique().tolist() == [1] and loaded[1].unique().tolist() == [2]
    assert "labels" in str(heart_groups(data, "val", data / "lists.json", "labels")[0]["image"])
    with pytest.raises(InputError, match="part 'masks' is unknown"):
        heart_groups(data, "val", data / "lists.json", "masks")
    (data / "images" / "p2_ES.nii.gz").unlink()
    with pytest.raises(InputError, match="has no p2_ES: each patient needs both phases"):
        heart_groups(data, "train", data / "lists.json")


def test_what_inference_reads(data: Path) -> None:
    first, last = (data / "images" / f"p1_{phase}.nii.gz" for phase in ("ED", "ES"))
    assert input_hearts(first, last, "") == [{"image": [str(first), str(last)], "case": "p1"}]
    assert input_hearts(first, "", "")[0]["image"] == str(first)
    assert [item["case"] for item in input_hearts("", "", data)] == ["p1", "p2", "p3"]
    with pytest.raises(InputError, match=r"p9_ED.* does not exist"):
        input_hearts(data / "p9_ED.nii.gz", "", "")
    with pytest.raises(InputError, match="holds no pair"):
        input_hearts("", "", _empty(data))


def _empty(folder: Path) -> Path:
    (folder / "none").mkdir()
    return folder / "none"


def test_the_ratios_of_a_heart() -> None:
    early = torch.tensor([1] * 10 + [2] * 20 + [3] * 40 + [0] * 10)
    late = torch.tensor([1] * 5 + [2] * 20 + [3] * 10 + [0] * 45)
    found = heart_ratios(torch.stack((early, late))[None].reshape(1, 2, 8, 5, 2))[0]
    expected = [*np.log1p([10, 20, 40]), 0.75, 0.5, 0.5, 2.0, 0.25]
    assert np.allclose(found.numpy(), expected)
    assert torch.isfinite(heart_ratios(torch.zeros(1, 2, 4, 4, 2))).all()


def test_the_regression_learns_from_volumes() -> None:
    torch.manual_seed(0)
    network = VolumeRegression(2)
    hearts = torch.zeros(8, 2, 16, 2)
    for number in range(8):
        # a large left ventricle against a small one
        hearts[number, :, : 4 + 8 * (number % 2) + number // 4] = 3
    groups = torch.arange(8) % 2
    steps = torch.optim.Adam(network.parameters(), 0.1)
    for _ in range(30):
        steps.zero_grad()
        torch.nn.functional.cross_entropy(network(hearts), groups).backward()
        steps.step()
    assert torch.equal(network.eval()(hearts).argmax(1), groups)
