"""The plan as a whole: from a fingerprint, with given values, for every network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from medmamba_monai.autoconfig.budget import Budget
from medmamba_monai.autoconfig.networks import NETWORKS
from medmamba_monai.autoconfig.plan import make_plan

STORED = json.loads(Path(__file__).with_name("nnunet_answers.json").read_text(encoding="utf-8"))["answers"]
GPU, CPU = Budget(gpu_gb=8), Budget(cores=2, hours=1)


def found(name: str, **changes: Any) -> dict[str, Any]:
    """A fingerprint as from the files of one stored question, axes in MONAI's order."""
    asked = STORED[name]["question"]
    dims = 2 if asked["shapes"][0][0] == 1 else 3
    cases = [
        {
            "case": f"c{i}",
            "group": f"c{i}",
            "shape": s[::-1][:dims],
            "cropped": s[::-1][:dims],
            "spacing": v[::-1][:dims],
        }
        for i, (s, v) in enumerate(zip(asked["shapes"], asked["spacings"], strict=True))
    ]
    names = ["background", *(f"class{c}" for c in range(1, asked["classes"]))]
    statistics = {"mean": 1.0, "std": 2.0, "median": 1.0, "percentile_00_5": -3.0, "percentile_99_5": 5.0}
    return {
        "spatial_dims": dims,
        "training_cases": len(cases),
        "groups": len(cases),
        "channels": ["MRI"] * asked["channels"],
        "labels": {name: number for number, name in enumerate(names)},
        "spacing": {"median": cases[0]["spacing"]},
        "share_after_crop": 1.0,
        "foreground": [statistics] * asked["channels"],
        "by_case": cases,
    } | changes


@pytest.mark.parametrize("name", sorted(STORED))
def test_whole_plans_have_the_sizes_of_nnunet_in_our_order_of_axes(name: str) -> None:
    answer = STORED[name]["answer"]
    theirs = answer.get("3d_fullres", answer["2d"])
    asked = STORED[name]["question"]
    plan = make_plan(found(name), Budget(gpu_gb=asked["memory_gb"]))
    place = answer["transpose_forward"] if "3d_fullres" in answer else [0, 1]
    last = len(place) - 1
    for key in ("patch_size", "spacing"):
        assert [plan["configuration"][key][last - axis] for axis in place] == pytest.approx(theirs[key])
    strides = [[row[last - axis] for axis in place] for row in plan["configuration"]["strides"]]
    assert strides == theirs["strides"]
    assert plan["configuration"]["batch_size"] == theirs["batch_size"]
    assert plan["configuration"]["batch_dice"] == theirs["batch_dice"]
    assert (plan["low_resolution"] is None) == ("3d_lowres" not in answer)
    assert plan == json.loads(json.dumps(plan)) == make_plan(found(name), Budget(gpu_gb=asked["memory_gb"]))


def test_normalisation_follows_the_channel_names() -> None:
    plan = make_plan(found("brain_four_channels", channels=["CT", "T1", "noNorm", "rgb_to_0_1"]), GPU)
    assert plan["configuration"]["normalisation"] == ["ct", "zscore", "none", "colour"]
    assert not any(plan["configuration"]["nonzero_only"])
    cropped = make_plan(found("hippocampus", share_after_crop=0.5), GPU)
    assert cropped["configuration"]["nonzero_only"] == [True]


def test_given_values() -> None:
    given = {
        "configuration.spacing": [2.0, 1.0, 1.0],
        "configuration.patch_size": [32, 64, 64],
        "training.epochs": 7,
        "configuration.normalisation": ["ct"],
        "network_def.d_state": 8,
        "augmentation.mirror_axes": [],
    }
    plan = make_plan(found("hippocampus"), GPU, given=given | {"augmentation.mirror_axes": [1]})
    configuration = plan["configuration"]
    assert (configuration["spacing"], configuration["patch_size"]) == ([2.0, 1.0, 1.0], [32, 64, 64])
    assert configuration["median_shape"] == [17.0, 49.5, 35.5] or configuration["median_shape"][0] < 20
    assert (plan["training"]["epochs"], configuration["normalisation"]) == (7, ["ct"])
    assert plan["network_def"]["d_state"] == 8 and plan["augmentation"]["mirror_axes"] == [1]
    assert plan["given"] == sorted(given)


@pytest.mark.parametrize("name", ["epochs", "training.epoch", "dataset.labels", "configuration.batch"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no value"):
        make_plan(found("hippocampus"), GPU, given={name: 1})


def test_low_resolution() -> None:
    low = make_plan(found("liver_large"), GPU, resolution="low")
    full = make_plan(found("liver_large"), GPU)
    assert full["low_resolution"]["configuration"] == low["configuration"]
    assert low["configuration"]["spacing"][0] > 2 * full["configuration"]["spacing"][0]
    assert not low["configuration"]["batch_dice"] and full["configuration"]["batch_dice"]
    for resolution in ("low", "cascade"):
        with pytest.raises(ValueError, match="there is no low-resolution stage"):
            make_plan(found("hippocampus"), GPU, resolution=resolution)


def test_cascade() -> None:
    both = make_plan(found("liver_large"), GPU, resolution="cascade")
    low, full = (make_plan(found("liver_large"), GPU, resolution=name) for name in ("low", "full"))
    classes = len(both["dataset"]["labels"])
    assert both["configuration"] == full["configuration"] and both["training"] == full["training"]
    assert both["network_def"]["in_channels"] == full["network_def"]["in_channels"] + classes - 1
    for name, value in both["low_resolution"].items():
        assert value == low[name]


def test_given_values_of_a_cascade() -> None:
    given = {"configuration.patch_size": [16, 16, 16], "training.epochs": 7, "network_def.d_state": 8}
    given |= {"low_resolution.configuration.spacing": [3.0, 3.0, 3.0], "low_resolution.training.epochs": 3}
    plan = make_plan(found("hippocampus"), GPU, resolution="cascade", given=given)
    low = plan["low_resolution"]
    assert (plan["training"]["epochs"], low["training"]["epochs"]) == (7, 3)
    assert plan["network_def"]["d_state"] == low["network_def"]["d_state"] == 8
    assert low["configuration"]["spacing"] == [3.0] * 3 and low["configuration"]["patch_size"] != [16, 16, 16]
    assert low["configuration"]["median_shape"] == [
        round(size * length / 3)
        for size, length in zip(plan["configuration"]["median_shape"], plan["configuration"]["spacing"], strict=True)
    ]
    sized = make_plan(found("liver_large"), GPU, resolution="low", given={"configuration.patch_size": [32, 32, 32]})
    assert sized["configuration"]["patch_size"] == [32, 32, 32]
    with pytest.raises(ValueError, match="leave 'low_resolution.' out"):
        make_plan(found("liver_large"), GPU, resolution="low", given={"low_resolution.training.epochs": 1})


def test_left_and_right_are_not_mirrored() -> None:
    labels = {"background": 0, "parotid_left": 1, "parotid-Right": 2}
    assert make_plan(found("hippocampus", labels=labels), GPU)["augmentation"]["mirror_axes"] == [1, 2]
    # a word that only holds the letters is no side
    assert (
        make_plan(found("hippocampus", labels={"background": 0, "bright": 1}), GPU)["augmentation"]["mirror_axes"][0]
        == 0
    )


def test_schedules() -> None:
    assert make_plan(found("hippocampus"), GPU)["training"]["epochs"] == 1000
    short = make_plan(found("hippocampus"), CPU)["training"]
    assert 4000 <= short["epochs"] * short["iterations_per_epoch"] <= 250_000


@pytest.mark.parametrize("network", list(NETWORKS))
@pytest.mark.parametrize("name", ["tiny", "tiny_2d"])
def test_every_network_is_built_from_its_plan(network: str, name: str) -> None:
    if network == "swin_umamba" and name == "tiny":
        with pytest.raises(ValueError, match="choose umamba_bottleneck"):
            make_plan(found(name), CPU, network)
        return
    plan = make_plan(
        found(name), CPU, network, given={"configuration.features": [8, 16, 24, 32][: 4 if "2d" in name else 3]}
    )
    parser = ConfigParser({"network_def": plan["network_def"]})
    net = parser.get_parsed_content("network_def").train()
    patch = [max(32, size) for size in plan["configuration"]["patch_size"]]
    with torch.no_grad():
        out = net(torch.zeros(2, plan["network_def"]["in_channels"], *patch))
    first = out[0] if isinstance(out, (list, tuple)) else out
    assert first.shape == (2, 2, *patch) and math.prod(first.shape) > 0


def test_unknown_network() -> None:
    with pytest.raises(ValueError, match="network 'brain' is unknown: choose one of umamba_bottleneck"):
        make_plan(found("tiny"), CPU, "brain")
