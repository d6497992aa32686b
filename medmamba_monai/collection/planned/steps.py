"""The transforms of a planned bundle, as its configs hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = [
    "cascaded",
    "geometry_steps",
    "join_steps",
    "keys_of",
    "label_steps",
    "load_steps",
    "margin_size",
    "normalisation_steps",
    "previous_steps",
    "random_steps",
]

Record = dict[str, Any]
Step = dict[str, Any]
HERE = "medmamba_monai.collection.planned."


def cascaded(plan: Mapping[str, Any]) -> bool:
    """Whether the network also reads what the low-resolution stage found."""
    return bool(plan["resolution"] == "cascade")


def keys_of(plan: Mapping[str, Any], label: bool) -> list[str]:
    """The keys of an item that go the way of the image.

    Args:
        plan: the plan.
        label: whether the labels do.
    """
    return ["image", *(["label"] if label else []), *(["previous"] if cascaded(plan) else [])]


def previous_steps(plan: Mapping[str, Any]) -> list[Step]:
    """Add the label map of the low-resolution stage, where there is one."""
    if not cascaded(plan):
        return []
    parts = {name: f"@low_resolution#{name}" for name in ("transform", "inferer", "network", "weights")}
    return [{"_target_": HERE + "cascade.PreviousStaged", "keys": "image", **parts, "device": "@device"}]


def join_steps(plan: Mapping[str, Any]) -> list[Step]:
    """Make channels of that label map."""
    if not cascaded(plan):
        return []
    classes = len(plan["dataset"]["labels"])
    return [{"_target_": HERE + "cascade.JoinedStaged", "keys": "image", "num_classes": classes}]


def geometry_steps(plan: Mapping[str, Any], label: bool) -> list[Step]:
    """Load, turn, crop, normalise and resample: in nnU-Net's order.

    Args:
        plan: the plan.
        label: whether labels go the same way as images.
    """
    data, values = plan["dataset"], plan["configuration"]
    keys = keys_of(plan, label)
    steps: list[Step] = []
    # weights of nnU-Net know the axes of its arrays
    axes = data.get("axes", {"reorient": not data["pictures"]})
    if axes["reorient"]:
        steps.append({"_target_": "Orientationd", "keys": keys, "axcodes": "RAS", "labels": None})
    if "order" in axes:
        steps.append({"_target_": HERE + "arrays.AxesOrderd", "keys": keys, "order": axes["order"]})
    if values["crop_to_nonzero"]:
        crop = {"_target_": "CropForegroundd", "keys": keys, "source_key": "image", "select_fn": "$geometry.nonzero"}
        steps.append(crop | {"allow_smaller": True})
    steps += normalisation_steps(plan)
    if not data["pictures"] or any(length != 1 for length in values["spacing"]):
        step = {"_target_": HERE + "geometry.PlannedSpacingd", "keys": keys, "spacing": values["spacing"]}
        step |= {"order": values["image_order"], "label_order": values["label_order"]}
        step |= {"across": values["order_across_slices"], "inverse_order": values["prediction_order"]}
        if cascaded(plan):
            step["labels"] = ["label", "previous"]
        steps.append(step)
    return steps


def load_steps(plan: Mapping[str, Any], label: bool) -> list[Step]:
    """Read images, and labels when asked.

    Args:
        plan: the plan.
        label: whether labels are read, too.
    """
    keys: Any = ["image", "label"] if label else "image"
    steps: list[Step] = [{"_target_": "LoadImaged", "keys": keys}, {"_target_": "EnsureChannelFirstd", "keys": keys}]
    if plan["dataset"]["files_per_case"] > 1:
        steps.append({"_target_": HERE + "items.JoinedFilesd", "keys": "image"})
    if plan["dataset"]["pictures"]:
        kind = {1: "Grey", 3: "Colour"}.get(len(plan["dataset"]["channels"]))
        if kind is not None:
            steps.append({"_target_": f"medmamba_monai.collection.pictures.{kind}Pictured", "keys": "image"})
    return steps + (label_steps(plan) if label else [])


def label_steps(plan: Mapping[str, Any]) -> list[Step]:
    """Turn the numbers in the label files into 0, 1, 2, ..."""
    values = plan["dataset"]["label_values"]
    if len(values) == 1:
        return [{"_target_": "AsDiscreted", "keys": "label", "threshold": 0.5}]
    if values == list(range(len(values))):
        return []
    classes = list(range(len(values)))
    return [{"_target_": "MapLabelValued", "keys": "label", "orig_labels": values, "target_labels": classes}]


def normalisation_steps(plan: Mapping[str, Any]) -> list[Step]:
    """One step when all channels are treated alike, otherwise one with a transform a channel."""
    values = plan["configuration"]
    schemes, only = values["normalisation"], values["nonzero_only"]
    masked = [channel for channel, inside in enumerate(only) if inside]
    steps: list[Step] = []
    if masked:
        everywhere = {} if len(masked) == len(schemes) else {"channels": masked}
        steps.append({"_target_": HERE + "arrays.MaskedZscored", "keys": "image", **everywhere})
    rest = ["none" if inside else scheme for scheme, inside in zip(schemes, only, strict=True)]
    if set(rest) == {"none"}:
        return steps
    if set(rest) == {"zscore"}:
        return [*steps, {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True}]
    # the mask is found before other channels change: zero may become another number
    each = [_scheme(*row) for row in zip(rest, values["intensities"], strict=True)]
    if len(each) == 1:
        return [*steps, {"_target_": each[0].pop("_target_") + "d", "keys": "image", **each[0]}]
    return [*steps, {"_target_": HERE + "items.ByChanneld", "keys": "image", "transforms": each}]


def _scheme(scheme: str, intensities: Mapping[str, float]) -> Step:
    if scheme == "zscore":
        return {"_target_": "NormalizeIntensity"}
    if scheme == "range":
        return {"_target_": "ScaleIntensity"}
    if scheme == "none":
        return {"_target_": "Identity"}
    if scheme == "colour":
        return {"_target_": "ScaleIntensityRange", "a_min": 0, "a_max": 255, "b_min": 0.0, "b_max": 1.0}
    low, high = intensities["percentile_00_5"], intensities["percentile_99_5"]
    mean, deviation = intensities["mean"], max(intensities["std"], 1e-8)
    ends = {"a_min": low, "a_max": high, "b_min": (low - mean) / deviation, "b_max": (high - mean) / deviation}
    return {"_target_": "ScaleIntensityRange", **ends, "clip": True}


def random_steps(plan: Mapping[str, Any]) -> list[Step]:
    """Draw a patch, a third of them around a class, and change it as nnU-Net does, where MONAI can."""
    classes = len(plan["dataset"]["labels"])
    share = plan["training"]["foreground_share"]
    keys = keys_of(plan, True)
    draw: Step = {
        "_target_": "RandCropByLabelClassesd",
        "keys": keys,
        "label_key": "label",
        "spatial_size": "@margin_size",
        "ratios": [1 - share, *[share / (classes - 1)] * (classes - 1)],
        "num_classes": classes,
        "num_samples": 1,
        "indices_key": "label_indices",
        "warn": False,
    }
    steps = [draw, {"_target_": "SelectItemsd", "keys": keys}, _affine(plan)]
    blur = {f"sigma_{axis}": [0.5, 1.0] for axis in "xyz"[: plan["dataset"]["spatial_dims"]]}
    gamma = {"_target_": "RandAdjustContrastd", "keys": "image", "gamma": [0.7, 1.5], "retain_stats": True}
    coarse = {"_target_": "RandSimulateLowResolutiond", "keys": "image"}
    linear = "bilinear" if plan["dataset"]["spatial_dims"] == 2 else "trilinear"
    fixed = {"_target_": "RandScaleIntensityFixedMeand", "keys": "image", "prob": 0.15, "factors": 0.25}
    steps += [
        {"_target_": "RandGaussianNoised", "keys": "image", "prob": 0.1, "std": 0.316},
        {"_target_": "RandGaussianSmoothd", "keys": "image", "prob": 0.1, **blur},
        {"_target_": "RandScaleIntensityd", "keys": "image", "prob": 0.15, "factors": 0.25, "channel_wise": True},
        {**fixed, "preserve_range": True},
        {**coarse, "prob": 0.125, "zoom_range": [0.5, 1.0], "upsample_mode": linear},
        {**gamma, "prob": 0.1, "invert_image": True},
        {**gamma, "prob": 0.3},
    ]
    flips = [
        {"_target_": "RandFlipd", "keys": keys, "prob": 0.5, "spatial_axis": axis}
        for axis in plan["augmentation"]["mirror_axes"]
    ]
    rough: list[Step] = [{"_target_": HERE + "cascade.RandRoughStaged", "keys": "previous", "num_classes": classes}]
    joined = [*rough, *join_steps(plan)] if cascaded(plan) else []
    return [*steps, *flips, *joined, {"_target_": "EnsureTyped", "keys": ["image", "label"], "track_meta": False}]


def _thick(plan: Mapping[str, Any]) -> int:
    patch = plan["configuration"]["patch_size"]
    return int(patch.index(min(patch)))


def _affine(plan: Mapping[str, Any]) -> Step:
    change = plan["augmentation"]
    dims = plan["dataset"]["spatial_dims"]
    turn = round(math.radians(change["rotation_degrees"]), 4)
    low, high = (round(factor - 1, 4) for factor in change["scale"])
    rotation: Any = turn if dims == 2 else [turn] * 3
    scale = [[low, high]] * dims
    if change["in_plane_only"]:
        flat = _thick(plan)
        rotation = [turn if axis == flat else 0.0 for axis in range(3)]
        scale = [[0.0, 0.0] if axis == flat else [low, high] for axis in range(3)]
    return {
        "_target_": "RandAffined",
        "keys": keys_of(plan, True),
        # nnU-Net turns a fifth of the patches and scales a fifth
        "prob": 0.36,
        "rotate_range": rotation,
        "scale_range": scale,
        "spatial_size": "@patch_size",
        "mode": ["bilinear", *["nearest"] * (len(keys_of(plan, True)) - 1)],
        "padding_mode": "zeros",
    }


def margin_size(plan: Mapping[str, Any]) -> list[int]:
    """The patch with a margin, so that turning and scaling bring no empty corners.

    Args:
        plan: the plan.
    """
    values = plan["configuration"]
    flat = _thick(plan) if plan["augmentation"]["in_plane_only"] else None
    # an even margin keeps the middle of the patch between the same voxels
    return [n if axis == flat else n + 2 * math.ceil(0.15 * n) for axis, n in enumerate(values["patch_size"])]
