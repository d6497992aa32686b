"""The cascade: a first stage at low resolution, whose classes are channels of the second."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from medmamba_monai.__main__ import main
from medmamba_monai.collection import verify
from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.package import package
from medmamba_monai.collection.planned.cascade import JoinedStaged, RandRoughStaged
from medmamba_monai.collection.planned.items import planned_items
from tests.autoconfig.conftest import decathlon
from tests.collection.planned.test_planned_bundle import infer, plan

SHAPE = {"strides": [[1, 1, 1], [2, 2, 2]], "kernel_sizes": [[3, 3, 3], [3, 3, 3]], "features": [4, 8]}
GIVEN: dict[str, Any] = {
    **{f"configuration.{name}": value for name, value in {**SHAPE, "patch_size": [8, 8, 8], "batch_size": 2}.items()},
    **{f"low_resolution.configuration.{name}": value for name, value in SHAPE.items()},
    "low_resolution.configuration.spacing": [2.0, 2.0, 4.0],
    "low_resolution.configuration.patch_size": [8, 8, 4],
    "training.epochs": 1,
    "training.iterations_per_epoch": 2,
    "training.validate_every": 1,
    "training.folds": 2,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data, and a cascade of which both folds of the first stage and fold 0 of the second are trained."""
    place = tmp_path_factory.mktemp("cascade")
    data, root = place / "data", place / "umamba_boxes_segmentation"
    data.mkdir()
    decathlon(data, cases=3)
    assert plan(data, root, GIVEN, "--resolution", "cascade") == 0
    assert main(["train", str(root)]) == 0
    return data, root


def parsed(root: Path, *names: str, **options: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(root / "configs" / f"{name}.json") for name in names])
    for name, value in {"bundle_root": str(root), **options}.items():
        parser[name] = value
    return parser


def seen_by(root: Path, data: Path, section: str) -> dict[str, torch.Tensor]:
    """What the second stage reads of the cases of fold 0, before random changes."""
    parser = parsed(root, "train", dataset_dir=str(data), output_dir=str(root / "eval"))
    steps = parser.get_parsed_content("validate#preprocessing")
    items = parser.get_parsed_content("train" if section == "train" else "validate")["dataset"].data
    return {item["case"]: steps(item)["image"] for item in items}


def test_the_second_stage_learns_from_label_maps_of_cases_that_the_first_never_saw(trained: tuple[Path, Path]) -> None:
    data, root = trained
    folds = json.loads((root / "configs" / "splits.json").read_text())["folds"]
    channels = seen_by(root, data, "train") | seen_by(root, data, "val")
    assert sorted(channels) == ["case_0", "case_1", "case_2"]
    for number, fold in enumerate(folds):
        # the first stage of this fold, run again
        weights = str(root / "models" / "low_resolution" / f"fold_{number}" / "model.pt")
        steps = parsed(root, "inference", **{"low_resolution#weights": weights}).get_parsed_content("preprocessing")
        for case in fold["val"]:
            found = steps({"image": str(data / "imagesTr" / f"{case}.nii.gz")})["image"]
            assert found.shape == (3, 20, 24, 16) and set(found[1:].unique().tolist()) == {0.0, 1.0}
            assert torch.equal(found, channels[case]), case


def test_inference_runs_both_stages(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, root = trained
    turned = np.array([[0, 0, -1.2, 5.0], [0.9, 0, 0, -3.0], [0, 1.0, 0, 7.0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(nib.load(data / "imagesTr" / "case_1.nii.gz").get_fdata(), turned), tmp_path / "h.nii.gz")
    for names in (["inference"], ["inference", "ensemble"]):
        infer(root, tmp_path / "h.nii.gz", tmp_path / names[-1], *names)
        found = nib.load(tmp_path / names[-1] / "h_seg.nii.gz")
        assert found.shape == (20, 24, 16) and np.allclose(found.affine, turned, atol=1e-4)
    ensemble = parsed(root, "inference", "ensemble").get_parsed_content("low_resolution#weights")
    assert [file.parent.name for file in ensemble] == ["fold_0", "fold_1"]


def test_what_a_cascade_leaves(trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, root = trained
    report = (root / "docs" / "report.md").read_text()
    assert "## First stage, at low resolution" in report and "| Dice of class | fold 0 | fold 1 |" in report
    assert verify.main([str(root)]) == 0, capsys.readouterr().out
    with zipfile.ZipFile(package(Bundle(root), tmp_path)) as archive:
        assert f"{root.name}/models/low_resolution/model.pt" in archive.namelist()


def test_label_maps_that_do_not_fit_are_told(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, root = trained
    splits = root / "configs" / "splits.json"
    with pytest.raises(InputError, match="_seg.nii.gz is missing: train the first stage, too"):
        planned_items(data, "val", splits, 0, tmp_path)
    item = planned_items(data, "val", splits, 0, root / "eval" / "low_resolution")[0]
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), np.uint8), np.eye(4)), tmp_path / "other.nii.gz")
    step = parsed(root, "inference").get_parsed_content("preprocessing")
    with pytest.raises(RuntimeError) as told:
        step({"image": item["image"], "previous": str(tmp_path / "other.nii.gz")})
    assert isinstance(told.value.__cause__, InputError) and "has shape (5, 6, 7)" in str(told.value.__cause__)


def test_label_maps_are_spoiled_but_no_class_is_invented() -> None:
    label = torch.zeros(1, 24, 24, 24, dtype=torch.uint8)
    label[0, 2:20, 2:20, 2:20], label[0, 21:23, 21:23, 21:23], label[0, 8:11, 8:11, 8:11] = 1, 1, 2
    spoil = RandRoughStaged("previous", 3)
    spoil.set_random_state(seed=1)
    found = [spoil({"previous": label.clone()})["previous"] for _ in range(60)]
    assert all(new.dtype == torch.uint8 and set(new.unique().tolist()) <= {0, 1, 2} for new in found)
    assert 15 <= sum(torch.equal(new, label) for new in found) <= 45  # 0.6 * 0.8 of them
    for _ in range(5):
        array = label[0].numpy().copy()
        spoil._leave_out(array, 1)
        # the part that covers more than 15 % stays
        assert array[4, 4, 4] == 1 and not array[21:, 21:, 21:].any() and array[9, 9, 9] == 2


def test_channels_of_label_maps_keep_the_grid_of_the_image() -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    item = {"image": MetaTensor(torch.zeros(1, 2, 2, 2), affine=affine), "previous": MetaTensor(torch.ones(1, 2, 2, 2))}
    found = JoinedStaged("image", 3)(item)
    assert list(found) == ["image"] and torch.equal(found["image"].affine, affine)
    assert found["image"][:, 0, 0, 0].tolist() == [0.0, 1.0, 0.0]
