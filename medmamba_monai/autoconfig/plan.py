"""The plan: every value of preprocessing, network, training and inference, from a fingerprint and a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from medmamba_monai.autoconfig.budget import FULL_STEPS, Budget
from medmamba_monai.autoconfig.networks import define_network
from medmamba_monai.autoconfig.rules import (
    ANISOTROPY,
    Configuration,
    Data,
    configure,
    low_resolution,
    resampled_shape,
    target_spacing,
)

__all__ = ["make_plan"]

Record = dict[str, Any]
# the names that nnU-Net gives to channels that are not to be z-scored
SCHEMES = {"ct": "ct", "nonorm": "none", "rescale_to_0_1": "range", "rgb_to_0_1": "colour"}
KNOWN_SCHEMES = ("ct", "zscore", "range", "colour", "none")
GEOMETRY = (
    "patch_size",
    "batch_size",
    "features",
    "strides",
    "kernel_sizes",
    "n_blocks",
    "n_decoder_blocks",
)


def make_plan(
    found: Mapping[str, Any],
    budget: Budget,
    network: str = "umamba_bottleneck",
    resolution: str = "full",
    given: Mapping[str, Any] | None = None,
) -> Record:
    """Plan everything; the same fingerprint gives the same plan.

    Args:
        found: see :func:`medmamba_monai.autoconfig.fingerprint.fingerprint`.
        budget: memory of a GPU, or cores and hours.
        network: one of :data:`medmamba_monai.autoconfig.networks.NETWORKS`.
        resolution: "full", or "low" for the low-resolution stage, where there is one.
        given: values by dotted name, such as ``configuration.patch_size``, that are not to be planned.

    Raises:
        ValueError: a given name is unknown, or there is no low-resolution stage.
    """
    fixed = dict(given or {})
    geometry = {name: fixed.get(f"configuration.{name}") for name in (*GEOMETRY, "spacing")}
    geometry = {name: value for name, value in geometry.items() if value is not None}
    data = Data(found["training_cases"], len(found["channels"]), len(found["labels"]), budget)
    axes, full, lower = _stages(found, data, geometry)
    if resolution == "low" and lower is None:
        raise ValueError(
            "the patch covers enough of these images: there is no low-resolution stage, leave --resolution out"
        )
    chosen = full if resolution == "full" or lower is None else lower
    configuration = _turned(chosen, axes)
    plan: Record = {
        "format": 1,
        "dataset": {key: value for key, value in found.items() if key != "by_case"},
        "budget": budget.numbers(),
        "network": network,
        "resolution": resolution,
        "configuration": configuration | _preprocessing(found, lower is None or resolution == "low"),
        "low_resolution": None if lower is None or resolution == "low" else _turned(lower, axes),
        "augmentation": _augmentation(configuration["patch_size"], found["labels"]),
        "training": _training(budget, chosen, found["groups"]),
        "inference": {"overlap": 0.5, "window": "gaussian", "mirror": False},
        "network_def": {},
    }
    late = {name: value for name, value in fixed.items() if not name.startswith("network_def.")}
    _override(plan, late)
    _check(plan["configuration"])
    plan["network_def"] = define_network(network, plan["configuration"], data.channels, data.classes)
    _override(plan, {name: value for name, value in fixed.items() if name not in late}, new=True)
    plan["given"] = sorted(fixed)
    plan["because"] = _reasons(plan, found, budget)
    return plan


def _stages(
    found: Mapping[str, Any], data: Data, geometry: dict[str, Any]
) -> tuple[list[int], Configuration, Configuration | None]:
    """The axes in nnU-Net's order, and the stages at full and low resolution in that order."""
    dims = int(found["spatial_dims"])
    order = list(range(dims))[::-1]
    spacings = np.asarray([case["spacing"] for case in found["by_case"]])[:, order]
    shapes = np.asarray([case["cropped"] for case in found["by_case"]])[:, order]
    asked = geometry.pop("spacing", None)
    target = [asked[axis] for axis in order] if asked else target_spacing(spacings.tolist(), shapes.tolist())
    sizes = [resampled_shape(size, old, target) for size, old in zip(shapes.tolist(), spacings.tolist(), strict=True)]
    first = int(np.argmax(target)) if dims == 3 else 0
    places = [first, *(axis for axis in range(dims) if axis != first)]
    axes = [order[place] for place in places]
    spacing = [float(target[place]) for place in places]
    median = [float(length) for length in np.median(sizes, 0)[places]]
    fixed = {name: _in_order(value, axes) if _by_axis(name) else value for name, value in geometry.items()}
    full = configure(spacing, median, math.prod(median) * data.cases, data, fixed)
    return axes, full, low_resolution(full, data) if dims == 3 else None


def _by_axis(name: str) -> bool:
    return name in {"patch_size", "strides", "kernel_sizes"}


def _in_order(value: Sequence[Any], axes: Sequence[int]) -> list[Any]:
    if value and isinstance(value[0], (list, tuple)):
        return [_in_order(row, axes) for row in value]
    if len(value) != len(axes):
        raise ValueError(f"{list(value)} has {len(value)} numbers, but the images have {len(axes)} axes: give one each")
    return [value[axis] for axis in axes]


def _turned(plan: Configuration, axes: Sequence[int]) -> Record:
    """The configuration as plain values, axes in the order of MONAI's arrays (x, y, z)."""
    back = [axes.index(axis) for axis in range(len(axes))]
    values = {name: value for name, value in asdict(plan).items() if name != "cost"}
    found: Record = {}
    for name, value in values.items():
        if name in {"spacing", "median_shape"} or _by_axis(name):
            value = _in_order(value, back)
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _preprocessing(found: Mapping[str, Any], alone: bool) -> Record:
    schemes = [SCHEMES.get(name.casefold(), "zscore") for name in found["channels"]]
    return {
        "crop_to_nonzero": True,
        "normalisation": schemes,
        # where much of the image is an empty border, its zeros are kept out of mean and deviation
        "nonzero_only": [scheme == "zscore" and found["share_after_crop"] < 0.75 for scheme in schemes],
        "intensities": found["foreground"],
        "image_order": 3,
        "label_order": 1,
        "prediction_order": 1,
        "order_across_slices": 0,
        "batch_dice": found["spatial_dims"] == 2 or not alone,
    }


def _augmentation(patch: Sequence[int], labels: Mapping[str, int]) -> Record:
    axes = list(range(len(patch)))
    flat = max(patch) > ANISOTROPY * min(patch) and len(patch) == 3
    if len(patch) == 2:
        degrees = 15 if max(patch) / min(patch) > 1.5 else 180
    else:
        degrees = 180 if flat else 30
    sided = any(word in name.lower().replace("-", "_").split("_") for name in labels for word in ("left", "right"))
    return {
        "rotation_degrees": degrees,
        "in_plane_only": flat,
        "scale": [0.7, 1.4],
        "mirror_axes": axes[1:] if sided and len(axes) == 3 else axes,
    }


def _training(budget: Budget, plan: Configuration, groups: int) -> Record:
    steps = FULL_STEPS
    if budget.on_cpu:
        steps = budget.steps(budget.seconds(plan.cost, plan.batch_size))
    iterations = 250 if steps >= 25_000 else max(1, round(steps / 100))
    epochs = max(1, steps // iterations)
    return {
        "epochs": epochs,
        "iterations_per_epoch": iterations,
        "validate_every": max(1, epochs // 20),
        "learning_rate": 0.01,
        "momentum": 0.99,
        "weight_decay": 3e-5,
        "gradient_clip": 12,
        "foreground_share": 0.33,
        "folds": min(5, groups),
        "seed": 20240725,
    }


def _override(plan: Record, given: Mapping[str, Any], new: bool = False) -> None:
    for name, value in given.items():
        room, _, key = name.partition(".")
        if room in {"format", "dataset", "budget", "low_resolution"} or not isinstance(plan.get(room), dict):
            rooms = "configuration, augmentation, training, inference, network_def"
            raise ValueError(f"there is no value {name!r} to set: the names start with one of {rooms}, and a dot")
        if key not in plan[room] and not new:
            raise ValueError(f"there is no value {name!r} to set: {room} has {', '.join(plan[room])}")
        # what was planned from it keeps the rounding of the rules: a patch is rounded up to whole multiples
        if room != "configuration" or key not in (*GEOMETRY, "spacing"):
            plan[room][key] = value


def _check(configuration: Mapping[str, Any]) -> None:
    wrong = [scheme for scheme in configuration["normalisation"] if scheme not in KNOWN_SCHEMES]
    if wrong:
        raise ValueError(f"normalisation {wrong[0]!r} is unknown: use one of {', '.join(KNOWN_SCHEMES)}")


def _reasons(plan: Record, found: Mapping[str, Any], budget: Budget) -> list[str]:
    """Why the main values are what they are, a sentence each."""
    chosen, training = plan["configuration"], plan["training"]
    share = math.prod(chosen["patch_size"]) / math.prod(chosen["median_shape"])
    steps = training["epochs"] * training["iterations_per_epoch"]
    told = [
        f"Spacing {_short(chosen['spacing'])}: the median of the data is {_short(found['spacing']['median'])}.",
        f"Patch {chosen['patch_size']} in batches of {chosen['batch_size']}: what fits {budget.describe()}; "
        f"it covers {min(share, 1):.0%} of the median image.",
        f"Normalisation {', '.join(chosen['normalisation'])}: by the channel names {', '.join(found['channels'])}.",
        f"{steps} training steps a fold: " + ("what the hours allow." if budget.on_cpu else "nnU-Net's schedule."),
    ]
    if plan["low_resolution"]:
        told.append("The patch covers less than a quarter of the image: --resolution low plans a coarser first stage.")
    if plan["augmentation"]["mirror_axes"][:1] == [1]:
        told.append("Left and right are classes, so images are not mirrored left to right.")
    return told


def _short(values: Sequence[float]) -> str:
    return "x".join(f"{value:.3g}" for value in values)
