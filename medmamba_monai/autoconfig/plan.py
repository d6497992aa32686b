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
LOW = "low_resolution."
# what follows from patch and budget, so each stage has its own
GEOMETRY = (
    "spacing",
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
        resolution: "full"; where the images are large for the patch also "low" for the low-resolution stage alone, and
            "cascade" for both, the second reading what the first found.
        given: values by dotted name, such as ``configuration.patch_size``, that are not to be planned; those of the
            low-resolution stage begin with ``low_resolution.``, and but for sizes it takes the others, too.

    Raises:
        ValueError: a given name is unknown, or there is no low-resolution stage.
    """
    fixed = dict(given or {})
    own = {name: value for name, value in fixed.items() if not name.startswith(LOW)}
    coarse = {name.removeprefix(LOW): value for name, value in fixed.items() if name.startswith(LOW)}
    if resolution == "low" and coarse:
        raise ValueError(f"{LOW}{next(iter(coarse))} is set, but this is that stage: leave {LOW!r} out")
    data = Data(found["training_cases"], len(found["channels"]), len(found["labels"]), budget)
    axes, full = _full_stage(found, data, {} if resolution == "low" else own)
    # pictures have none
    lower = _low_stage(full, data, axes, own if resolution == "low" else coarse) if len(axes) == 3 else None
    if lower is None and (resolution != "full" or coarse):
        raise ValueError(
            "the patch covers enough of these images: there is no low-resolution stage, leave --resolution out"
        )
    # sizes follow from the patch of each stage; all other values hold for both
    shared = own if resolution == "low" else {name: value for name, value in own.items() if not _is_size(name)}
    low = None if lower is None else _stage(found, data, network, axes, lower, shared | coarse)
    if low is not None and resolution == "low":
        chosen, low = low, None
    else:
        # in a cascade the classes that the first stage found are channels of the second
        more = data.classes - 1 if resolution == "cascade" else 0
        chosen = _stage(found, data, network, axes, full, own, batch_dice=lower is not None, more_channels=more)
    plan: Record = {
        "format": 1,
        "dataset": {key: value for key, value in found.items() if key != "by_case"},
        "budget": budget.numbers(),
        "network": network,
        "resolution": resolution,
        **chosen,
        "low_resolution": low,
        "given": sorted(fixed),
    }
    return plan | {"because": _reasons(plan, found, budget)}


def _full_stage(found: Mapping[str, Any], data: Data, given: Mapping[str, Any]) -> tuple[list[int], Configuration]:
    """The axes in nnU-Net's order, and the stage at full resolution in that order."""
    dims = int(found["spatial_dims"])
    order = list(range(dims))[::-1]
    spacings = np.asarray([case["spacing"] for case in found["by_case"]])[:, order]
    shapes = np.asarray([case["cropped"] for case in found["by_case"]])[:, order]
    asked = given.get("configuration.spacing")
    target = _in_order(asked, order) if asked else target_spacing(spacings.tolist(), shapes.tolist())
    sizes = [resampled_shape(size, old, target) for size, old in zip(shapes.tolist(), spacings.tolist(), strict=True)]
    first = int(np.argmax(target)) if dims == 3 else 0
    places = [first, *(axis for axis in range(dims) if axis != first)]
    axes = [order[place] for place in places]
    spacing = [float(target[place]) for place in places]
    median = [float(length) for length in np.median(sizes, 0)[places]]
    return axes, configure(spacing, median, math.prod(median) * data.cases, data, _sizes(given, axes))


def _low_stage(full: Configuration, data: Data, axes: Sequence[int], given: Mapping[str, Any]) -> Configuration | None:
    """The stage at low resolution: where nnU-Net has one, or at a given spacing."""
    fixed = _sizes(given, axes)
    asked: Any = given.get("configuration.spacing")
    found = low_resolution(full, data)
    if asked is None and (found is None or not fixed):
        return found
    spacing = _in_order(asked, axes) if asked or found is None else found.spacing
    median = resampled_shape(full.median_shape, full.spacing, spacing)
    return configure(spacing, median, math.prod(median) * data.cases, data, fixed)


def _sizes(given: Mapping[str, Any], axes: Sequence[int]) -> Record:
    """The given sizes of a stage without the spacing, in nnU-Net's order of axes."""
    found = {name: given.get(f"configuration.{name}") for name in GEOMETRY if name != "spacing"}
    return {
        name: _in_order(value, axes) if _by_axis(name) else value for name, value in found.items() if value is not None
    }


def _is_size(name: str) -> bool:
    return name in {f"configuration.{key}" for key in GEOMETRY}


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


def _stage(
    found: Mapping[str, Any],
    data: Data,
    network: str,
    axes: Sequence[int],
    chosen: Configuration,
    given: Mapping[str, Any],
    batch_dice: bool = False,
    more_channels: int = 0,
) -> Record:
    """All values of one stage."""
    schemes = [SCHEMES.get(name.casefold(), "zscore") for name in found["channels"]]
    configuration = _turned(chosen, axes) | {
        "crop_to_nonzero": True,
        "normalisation": schemes,
        # where much of the image is an empty border, its zeros are kept out of mean and deviation
        "nonzero_only": [scheme == "zscore" and found["share_after_crop"] < 0.75 for scheme in schemes],
        "intensities": found["foreground"],
        "image_order": 3,
        "label_order": 1,
        "prediction_order": 1,
        "order_across_slices": 0,
        "batch_dice": found["spatial_dims"] == 2 or batch_dice,
    }
    stage: Record = {
        "configuration": configuration,
        "augmentation": _augmentation(configuration["patch_size"], found["labels"]),
        "training": _training(data.budget, chosen, found["groups"]),
        "inference": {"overlap": 0.5, "window": "gaussian", "mirror": False},
        "network_def": {},
    }
    late = {name: value for name, value in given.items() if not name.startswith("network_def.")}
    _override(stage, late)
    _check(stage["configuration"])
    stage["network_def"] = define_network(network, stage["configuration"], data.channels + more_channels, data.classes)
    _override(stage, {name: value for name, value in given.items() if name not in late}, new=True)
    return stage


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


def _override(stage: Record, given: Mapping[str, Any], new: bool = False) -> None:
    for name, value in given.items():
        room, _, key = name.partition(".")
        if room not in stage or not key:
            rooms = ", ".join(stage)
            raise ValueError(f"there is no value {name!r} to set: the names start with one of {rooms}, and a dot")
        if key not in stage[room] and not new:
            raise ValueError(f"there is no value {name!r} to set: {room} has {', '.join(stage[room])}")
        # a size was planned from what is given, by the rules: a patch is rounded up to whole multiples
        if not _is_size(name):
            stage[room][key] = value


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
    low = plan["low_resolution"]
    if low and plan["resolution"] == "full":
        told.append(
            "The patch covers less than a quarter of the image: --resolution cascade adds a coarser first stage."
        )
    elif low:
        told.append(
            f"First stage at low resolution: spacing {_short(low['configuration']['spacing'])}, patch "
            f"{low['configuration']['patch_size']}; its classes are channels of the second stage."
        )
    if plan["augmentation"]["mirror_axes"][:1] == [1]:
        told.append("Left and right are classes, so images are not mirrored left to right.")
    return told


def _short(values: Sequence[float]) -> str:
    return "x".join(f"{value:.3g}" for value in values)
