"""Parts that several configs of a planned bundle share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from medmamba_monai.collection.planned.steps import HERE, cascaded, geometry_steps

__all__ = [
    "AMP",
    "DEVICE",
    "IMPORTS",
    "KEPT",
    "LOW",
    "Record",
    "cached",
    "dump",
    "first_stage",
    "first_stage_plan",
    "floating",
    "inverted",
    "largest_component",
    "listed",
    "loader",
    "mean_dice",
    "mirrored_axes",
    "saved_volume",
    "window_inferer",
]

Record = dict[str, Any]
WIDTH = 130
IMPORTS = [
    "$import torch",
    "$import monai",
    "$import medmamba_monai.collection.checks as checks",
    "$import medmamba_monai.collection.checkpoint as checkpoint",
    "$import medmamba_monai.collection.planned.components as components",
    "$import medmamba_monai.collection.planned.geometry as geometry",
    "$import medmamba_monai.collection.planned.inference as planned",
    "$import medmamba_monai.collection.planned.items as items",
]
KEPT = "$components.kept_classes(@bundle_root + '/configs/postprocessing.json')"
DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
AMP = "$'cuda' in str(@device)"
LOW = "low_resolution"  # folder of the first stage of a cascade in configs, models and eval


def dump(content: Any, indent: int = 0) -> str:
    """JSON with short lists and objects on one line.

    Example:
        >>> print(dump({"a": [1, 2]}))
        {"a": [1, 2]}
    """
    flat = json.dumps(content, ensure_ascii=False)
    if len(flat) + indent < WIDTH or not isinstance(content, (dict, list)) or not content:
        return flat
    inner = " " * (indent + 4)
    if isinstance(content, dict):
        rows = [f"{json.dumps(str(k), ensure_ascii=False)}: {dump(v, indent + 4)}" for k, v in content.items()]
    else:
        rows = [dump(value, indent + 4) for value in content]
    brackets = "{}" if isinstance(content, dict) else "[]"
    return f"{brackets[0]}\n{inner}" + f",\n{inner}".join(rows) + f"\n{' ' * indent}{brackets[1]}"


def window_inferer(plan: Mapping[str, Any]) -> Record:
    values = plan["inference"]
    window = {"roi_size": "@window_size", "sw_batch_size": 1, "overlap": values["overlap"], "mode": values["window"]}
    return {"_target_": HERE + "inference.SlidingMirrorInferer", "mirror_axes": "@mirror_axes", **window}


def mirrored_axes(plan: Mapping[str, Any]) -> list[int]:
    return list(plan["augmentation"]["mirror_axes"]) if plan["inference"]["mirror"] else []


def listed(plan: Mapping[str, Any], section: str) -> str:
    found = f", @bundle_root + '/eval/{LOW}'" if cascaded(plan) else ""
    return f"$checks.or_stop(items.planned_items, @dataset_dir, {section}, @split_file, @fold{found})"


def first_stage_plan(plan: Mapping[str, Any]) -> Record:
    """The low-resolution stage of a cascade as a plan of its own."""
    return {**plan, **plan["low_resolution"], "resolution": "low", "low_resolution": None}


def first_stage(plan: Mapping[str, Any]) -> Record:
    """The section of a cascade's configs by which it runs its low-resolution stage; nothing for other plans."""
    if not cascaded(plan):
        return {}
    low = first_stage_plan(plan)
    inferer = window_inferer(low) | {"roi_size": low["configuration"]["patch_size"], "mirror_axes": mirrored_axes(low)}
    section = {
        "network": low["network_def"],
        "weights": f"$@bundle_root + '/models/{LOW}/model.pt'",
        "transform": {"_target_": "Compose", "transforms": [*geometry_steps(low, False), floating()]},
        "inferer": inferer,
    }
    return {LOW: section}


def floating() -> Record:
    return {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"}


def saved_volume() -> Record:
    saved: Record = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "seg"}
    saved |= {"output_ext": ".nii.gz", "output_dtype": "$torch.uint8", "resample": False}
    saved |= {"separate_folder": False, "print_log": False}
    return saved | {"writer": "medmamba_monai.collection.savers.AtomicNibabelWriter"}


def cached(data: str, transform: str) -> Record:
    # one thread: MONAI's readers keep file names, which threads would mix up
    cache = {"cache_rate": 1.0, "num_workers": 1, "progress": False}
    return {"_target_": "CacheDataset", "data": data, "transform": transform, **cache}


def loader(dataset: str) -> Record:
    rest = {"batch_size": 1, "shuffle": False, "num_workers": "@num_workers"}
    return {"_target_": "DataLoader", "dataset": dataset, **rest}


def mean_dice() -> Record:
    picked = "$monai.handlers.from_engine(['pred', 'label'])"
    return {"_target_": "MeanDice", "include_background": False, "output_transform": picked}


def inverted(transform: str) -> Record:
    rest = {"orig_keys": "image", "nearest_interp": False, "to_tensor": True}
    return {"_target_": "Invertd", "keys": "pred", "transform": transform, **rest}


def largest_component() -> Record:
    labels = {"applied_labels": "@keep_largest", "connectivity": 1}
    return {
        "_target_": "KeepLargestConnectedComponentd",
        "_disabled_": "$not @keep_largest",
        "keys": "pred",
        **labels,
    }
