"""What the configs of planned bundles call: resampling, folds, mirrored windows, components, the lock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, EnsureTyped, Invertd, Orientationd

from medmamba_monai.autoconfig.budget import Budget
from medmamba_monai.autoconfig.plan import make_plan
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.planned.components import choose, kept_classes
from medmamba_monai.collection.planned.geometry import PlannedSpacing, PlannedSpacingd, nonzero, resample
from medmamba_monai.collection.planned.inference import FoldMean, SlidingMirrorInferer, mean_of_folds
from medmamba_monai.collection.planned.items import make_folds
from medmamba_monai.collection.planned.lock import locked
from medmamba_monai.collection.planned.steps import random_steps
from tests.autoconfig.test_plan import found

THEIRS = np.load(Path(__file__).parents[2] / "autoconfig" / "nnunet_resampled.npz")


@pytest.mark.parametrize("name", ["iso", "thick", "down"])
def test_resampling_is_that_of_nnunet(name: str) -> None:
    shape, spacings = THEIRS[f"{name}_shape"].tolist(), THEIRS[f"{name}_spacings"].tolist()
    for order, key in ((3, "image"), (1, "linear")):
        ours = resample(THEIRS["image"], shape, spacings, order)
        np.testing.assert_allclose(ours, THEIRS[f"{name}_{key}"], atol=1e-6)
    affine = torch.diag(torch.tensor([*spacings[0], 1.0], dtype=torch.float64))
    source = MetaTensor(torch.as_tensor(THEIRS["label"]), affine=affine)
    label = PlannedSpacing(spacings[1], order=1, label=True)(source)
    assert label.dtype == torch.uint8
    np.testing.assert_array_equal(label.numpy(), THEIRS[f"{name}_label"])


def test_a_prediction_comes_back_to_the_grid_of_its_image() -> None:
    turned = torch.tensor([[0, 0, -3.0, 40], [1.0, 0, 0, -5], [0, 1.0, 0, 7], [0, 0, 0, 1]], dtype=torch.float64)
    image = torch.zeros(1, 18, 22, 9)
    image[:, 3:15, 4:19, 2:8] = torch.linspace(1, 2, 12).reshape(12, 1, 1)
    steps = Compose(
        [
            Orientationd("image", axcodes="RAS", labels=None),
            CropForegroundd("image", "image", select_fn=nonzero, allow_smaller=True),
            PlannedSpacingd("image", [2.0, 0.7, 1.4]),
            EnsureTyped("image"),
        ]
    )
    item = steps({"image": MetaTensor(image, affine=turned)})
    assert item["image"].shape == (1, 9, 17, 11)
    item["pred"] = MetaTensor(item["image"].clone())
    back = Invertd("pred", steps, orig_keys="image", nearest_interp=False)(item)["pred"]
    assert back.shape == image.shape and torch.allclose(back.affine, turned)
    inside = image > 0
    assert (back[~inside] == 0).all() and (back[inside] - image[inside]).abs().mean() < 0.02


@pytest.mark.parametrize("name", ["tiny", "tiny_2d"])
def test_every_random_change_of_a_patch_runs(name: str) -> None:
    plan = make_plan(found(name), Budget(cores=2, hours=1))
    size = plan["configuration"]["patch_size"]
    steps = [{**step, "prob": 1.0} if "prob" in step else step for step in random_steps(plan)[2:]]
    parser = ConfigParser({"patch_size": size, "steps": {"_target_": "Compose", "transforms": steps}})
    channels = len(plan["dataset"]["channels"])
    item = {"image": MetaTensor(torch.rand(channels, *size)), "label": MetaTensor(torch.ones(1, *size))}
    changed = parser.get_parsed_content("steps")(item)
    assert changed["image"].shape == (channels, *size) and changed["label"].shape == (1, *size)
    assert changed["image"].isfinite().all() and not torch.equal(changed["image"], torch.as_tensor(item["image"]))


def test_no_group_is_parted_and_folds_are_even() -> None:
    cases = [{"case": f"c{i:02}", "group": f"g{i // 3}"} for i in range(30)]
    folds = make_folds(cases, 5, 1)
    assert folds == make_folds(list(reversed(cases)), 5, 1)
    assert sorted(name for fold in folds for name in fold["val"]) == [case["case"] for case in cases]
    home = {case["case"]: case["group"] for case in cases}
    for fold in folds:
        assert len(fold["val"]) == 6
        assert not {home[name] for name in fold["val"]} & {home[name] for name in fold["train"]}


def test_mirrored_windows_average_every_mirror() -> None:
    weight = torch.arange(20.0).reshape(1, 1, 4, 5)
    plain = SlidingMirrorInferer([], roi_size=[4, 5])(torch.ones(1, 1, 4, 5), lambda x: x * weight)
    mirrored = SlidingMirrorInferer([0, 1], roi_size=[4, 5])(torch.ones(1, 1, 4, 5), lambda x: x * weight)
    assert torch.allclose(plain, weight)
    every = (weight + weight.flip(2) + weight.flip(3) + weight.flip(2, 3)) / 4
    assert torch.allclose(mirrored, every)


def test_folds_are_averaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train the folds first"):
        mean_of_folds(torch.nn.Linear(2, 1), tmp_path)
    networks = [torch.nn.Linear(2, 1) for _ in range(2)]
    for number, network in enumerate(networks):
        (tmp_path / f"fold_{number}").mkdir()
        torch.save(network.state_dict(), tmp_path / f"fold_{number}" / "model.pt")
    mean = mean_of_folds(torch.nn.Linear(2, 1), tmp_path)
    x = torch.rand(3, 2)
    assert isinstance(mean, FoldMean)
    assert torch.allclose(mean(x), (networks[0](x) + networks[1](x)) / 2)


def test_the_largest_component_is_kept_where_it_helps(tmp_path: Path) -> None:
    rows = {"a": {"liver": [0.8, 0.9], "spots": [0.7, 0.4]}, "b": {"liver": [0.9, 0.85], "spots": [0.5, 0.5]}}
    for number, (case, row) in enumerate(rows.items()):
        (tmp_path / f"{number}.json").write_text(json.dumps({case: row}))
    assert choose(sorted(tmp_path.glob("*.json")), ["liver", "spots"]) == [1]
    assert choose([], ["liver"]) == [] == kept_classes(tmp_path / "none.json")


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(InputError, match="another process works on"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
