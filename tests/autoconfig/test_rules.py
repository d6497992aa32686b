"""The rules give what the planner of the real nnunetv2 gave; its answers are stored beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmamba_monai.autoconfig.budget import Budget
from medmamba_monai.autoconfig.rules import (
    Configuration,
    Data,
    configure,
    low_resolution,
    resampled_shape,
    target_spacing,
)

STORED = json.loads(Path(__file__).with_name("nnunet_answers.json").read_text(encoding="utf-8"))
NAMES = sorted(STORED["answers"])


def planned(question: dict[str, Any], axes: list[int]) -> dict[str, Configuration]:
    """Our configurations of a stored question, under nnU-Net's names."""
    spacings, shapes = question["spacings"], question["shapes"]
    target = target_spacing(spacings, shapes)
    sizes = [resampled_shape(shape, spacing, target) for shape, spacing in zip(shapes, spacings, strict=True)]
    median = np.median(sizes, 0)[axes].tolist()
    spacing = [target[axis] for axis in axes]
    data = Data(len(shapes), question["channels"], question["classes"], Budget(gpu_gb=question["memory_gb"]))
    voxels = float(np.prod(median)) * data.cases
    found = {"2d": configure(spacing[1:], median[1:], voxels, data)}
    if median[0] != 1:
        found["3d_fullres"] = configure(spacing, median, voxels, data)
        lower = low_resolution(found["3d_fullres"], data)
        if lower is not None:
            found["3d_lowres"] = lower
    return found


@pytest.mark.parametrize("name", NAMES)
def test_plans_are_those_of_nnunet(name: str) -> None:
    asked, answer = STORED["answers"][name]["question"], dict(STORED["answers"][name]["answer"])
    found = planned(asked, answer.pop("transpose_forward"))
    assert sorted(found) == sorted(answer)
    for configuration, theirs in answer.items():
        ours = found[configuration]
        for key in ("patch_size", "batch_size", "features", "strides", "kernel_sizes"):
            assert json.loads(json.dumps(getattr(ours, key))) == theirs[key], (configuration, key)
        assert ours.spacing == pytest.approx(theirs["spacing"], rel=1e-9)
        assert ours.median_shape == pytest.approx(theirs["median_shape"])


def test_the_stored_answers_hold_every_kind_of_data() -> None:
    answers = [stored["answer"] for stored in STORED["answers"].values()]
    assert any("3d_fullres" not in answer for answer in answers)
    assert any("3d_lowres" in answer for answer in answers)
    assert any(min(answer["3d_fullres"]["strides"][1]) == 1 for answer in answers if "3d_fullres" in answer)


CPU = Data(200, 1, 3, Budget(cores=2, hours=1))


@pytest.mark.parametrize(
    ("spacing", "median"), [([1.0] * 3, [36, 50, 35]), ([1.0, 0.8, 0.8], [300, 400, 400]), ([1.0, 1.0], [352, 352])]
)
def test_a_cpu_plan_keeps_its_hours(spacing: list[float], median: list[int]) -> None:
    plan = configure(spacing, median, 1e9, CPU)
    seconds = CPU.budget.seconds(plan.cost, plan.batch_size)
    assert seconds <= CPU.budget.step_limit
    assert CPU.budget.steps(seconds) >= 4000
    assert len(plan.strides) >= 2 and plan.batch_size >= 2


def test_more_hours_give_a_wider_network_or_a_larger_patch() -> None:
    day = Data(200, 1, 3, Budget(cores=16, hours=24))
    small, large = (configure([1.0, 0.8, 0.8], [300, 400, 400], 1e9, data) for data in (CPU, day))
    assert large.cost > small.cost


def test_given_values_stay_and_the_rest_follows() -> None:
    fixed = {"patch_size": [32, 64, 64], "batch_size": 3, "features": [8, 16, 32, 64, 80]}
    plan = configure([1.0] * 3, [128, 128, 128], 1e9, Data(50, 1, 2, Budget(gpu_gb=8)), fixed)
    assert (plan.patch_size, plan.batch_size, plan.features) == ((32, 64, 64), 3, (8, 16, 32, 64, 80))
    with pytest.raises(ValueError, match="features has 2 entries, but 5 stages need 5"):
        configure([1.0] * 3, [128] * 3, 1e9, Data(50, 1, 2, Budget(gpu_gb=8)), fixed | {"features": [8, 16]})


def test_no_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="give --gpu-gb, or --cpu-cores with --hours"):
        Budget(cores=2)
