"""Two small bundles for the server, beside those of the collection: a picture to a label map, a volume to a volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

TARGET = "medmamba_monai.networks.nets.UMamba"
LOAD = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]


def network(spatial_dims: int, in_channels: int, out_channels: int) -> dict[str, Any]:
    return {
        "_target_": TARGET,
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "features": [4, 8],
        "n_blocks": 1,
        "variant": "bottleneck",
    }


def write_bundle(root: Path, spatial_dims: int, pre: list[Any], post: list[Any], pred: dict[str, Any]) -> None:
    """Writes configs and random weights; ``post`` follows the sliding window."""
    channels = 3 if spatial_dims == 2 else 1
    definition = network(spatial_dims, channels, pred["num_channels"])
    image = {"type": "image", "num_channels": channels, "spatial_shape": ["8*n"] * spatial_dims}
    data = {"inputs": {"image": image}, "outputs": {"pred": {"spatial_shape": ["8*n"] * spatial_dims, **pred}}}
    inference = {
        "imports": ["$import torch", "$import medmamba_monai.collection.checkpoint as checkpoint"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "image": "",
        "device": "cpu",
        "network_def": definition,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, *pre]},
        "dataset": {
            "_target_": "Dataset",
            "data": [{"image": "@image", "case": "case"}],
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16] * spatial_dims, "overlap": 0.25},
        "postprocessing": {"_target_": "Compose", "transforms": post},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "initialize": ["$checkpoint.load_weights(@bundle_root + '/models/model.pt', [@network])"],
        "run": ["$@evaluator.run()"],
    }
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True)
    for name, content in (("metadata", {"version": "0.1.0", "network_data_format": data}), ("inference", inference)):
        (root / "configs" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    torch.manual_seed(0)
    built = ConfigParser({"network_def": definition}).get_parsed_content("network_def")
    torch.save(built.state_dict(), root / "models" / "model.pt")


def write_picture_bundle(root: Path) -> None:
    """Pictures in colour, resampled, to three classes."""
    pre: list[Any] = [
        {"_target_": "medmamba_monai.collection.pictures.ColourPictured", "keys": "image"},
        {"_target_": "Resized", "keys": "image", "spatial_size": [32, 24], "mode": "bilinear"},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
    ]
    invert = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
    post: list[Any] = [
        {**invert, "nearest_interp": False},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {
            "_target_": "medmamba_monai.collection.outputs.LabelPictureSaverd",
            "keys": "pred",
            "output_dir": "@output_dir",
        },
    ]
    names = {"0": "background", "1": "inside", "2": "border"}
    write_bundle(root, 2, pre, post, {"format": "segmentation", "num_channels": 3, "channel_def": names})


def write_restoring_bundle(root: Path) -> None:
    """A volume to a volume of the same grid."""
    save = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "out"}
    post = [{**save, "separate_folder": False, "resample": False}]
    pre = [{"_target_": "NormalizeIntensityd", "keys": "image"}]
    write_bundle(root, 3, pre, post, {"format": "magnitude", "num_channels": 1, "channel_def": {"0": "t1"}})
