"""The configs of a planned bundle that use its weights: evaluation, inference, ensemble of folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmamba_monai.collection.planned.parts import (
    AMP,
    DEVICE,
    IMPORTS,
    KEPT,
    Record,
    inverted,
    largest_component,
    listed,
    loader,
    mean_dice,
    mirrored_axes,
    window_inferer,
)
from medmamba_monai.collection.planned.steps import (
    HERE,
    geometry_steps,
    label_steps,
    load_steps,
)

__all__ = ["ensemble_config", "evaluate_config", "inference_config"]


def evaluate_config(plan: Mapping[str, Any]) -> Record:
    """``configs/evaluate.json``: overrides ``train.json``, in the geometry of the files.

    Args:
        plan: the plan.
    """
    names = [name for name in plan["dataset"]["labels"] if name != "background"]
    both = ["pred", "label"]
    loaded = load_steps(plan, False)
    labelled = [{**step, "keys": ["image", "label"]} for step in loaded[:2]] + loaded[2:] + label_steps(plan)
    picked = "$monai.handlers.from_engine(['pred', 'label'])"
    distance = {"include_background": False, "percentile": 95, "output_transform": picked}
    return {
        "imports": ["$import os", "$import torch.distributed as dist", *IMPORTS],
        "section": "test" if plan["dataset"]["test_cases"] else "val",
        "checkpoint": "$@ckpt_dir + '/model.pt'",
        "keep_largest": KEPT,
        "image_transforms": [
            *labelled,
            *geometry_steps(plan, False),
            {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
        ],
        "train#handlers": [],
        "validate#preprocessing": {"_target_": "Compose", "transforms": "@image_transforms"},
        "validate#dataset": {
            "_target_": "Dataset",
            "data": listed("@section"),
            "transform": "@validate#preprocessing",
        },
        "validate#postprocessing": {
            "_target_": "Compose",
            "transforms": [
                inverted("@validate#preprocessing"),
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                largest_component(),
                {"_target_": "AsDiscreted", "keys": both, "to_onehot": len(names) + 1},
            ],
        },
        "validate#key_metric": {"dice": mean_dice()},
        "validate#additional_metrics": {"hausdorff95": {"_target_": "HausdorffDistance", **distance}},
        "validate#handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "medmamba_monai.collection.evaluation.SegmentationReport",
                "output_dir": "@output_dir",
                "classes": names,
                "unit": "groups of cases",
            },
            {"_target_": HERE + "components.ComponentTrial", "output_dir": "@output_dir", "classes": names},
        ],
        "validate#evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate#dataloader",
            "network": "@network",
            "inferer": "@validate#inferer",
            "postprocessing": "@validate#postprocessing",
            "key_val_metric": "@validate#key_metric",
            "additional_metrics": "@validate#additional_metrics",
            "val_handlers": "@validate#handlers",
            "amp": AMP,
        },
        "initialize": [
            "$monai.utils.set_determinism(seed=@seed)",
            "$checks.or_stop(checks.check_output_dir, @output_dir)",
            "$checks.or_stop(checkpoint.load_weights, @checkpoint, [@network])",
        ],
        "run": ["$checks.or_stop(@validate#evaluator.run)"],
    }


def inference_config(plan: Mapping[str, Any]) -> Record:
    """``configs/inference.json``.

    Args:
        plan: the plan.
    """
    data = plan["dataset"]
    load = load_steps(plan, False)
    original = {"_target_": "CopyItemsd", "keys": "image", "names": "original"}
    return {
        "imports": IMPORTS,
        "bundle_root": ".",
        "ckpt_dir": "$@bundle_root + '/models'",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "$@bundle_root + '/data'",
        "image": "",
        "overlay": False,
        "checkpoint": "$@ckpt_dir + '/model.pt'",
        "keep_largest": KEPT,
        "num_workers": 0,
        "device": DEVICE,
        "window_size": plan["configuration"]["patch_size"],
        "mirror_axes": mirrored_axes(plan),
        "network_def": plan["network_def"],
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                *load,
                {**original, "_disabled_": "$str(@overlay).lower() != 'true'"},
                *geometry_steps(plan, False),
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": f"$checks.or_stop(items.planned_inputs, @image, @dataset_dir, {data['files_per_case']})",
            "transform": "@preprocessing",
        },
        "dataloader": loader("@dataset"),
        "inferer": window_inferer(plan),
        "postprocessing": {"_target_": "Compose", "transforms": _written(plan)},
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": AMP,
        },
        "initialize": [
            "$monai.utils.set_determinism(seed=0)",
            "$checks.or_stop(checks.check_output_dir, @output_dir)",
            "$checks.or_stop(checkpoint.load_weights, @checkpoint, [@network])",
        ],
        "run": ["$checks.or_stop(@evaluator.run)"],
    }


def _written(plan: Mapping[str, Any]) -> list[Record]:
    """What inference does with a prediction."""
    outputs = "medmamba_monai.collection.outputs."
    names = [name for name in plan["dataset"]["labels"] if name != "background"]
    steps = [
        inverted("@preprocessing"),
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        largest_component(),
    ]
    if plan["dataset"]["pictures"]:
        steps.append({"_target_": outputs + "LabelPictureSaverd", "keys": "pred", "output_dir": "@output_dir"})
    else:
        saved: Record = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "seg"}
        saved |= {"output_ext": ".nii.gz", "output_dtype": "$torch.uint8", "resample": False}
        saved |= {"separate_folder": False, "print_log": False}
        saved |= {"writer": "medmamba_monai.collection.savers.AtomicNibabelWriter"}
        report = {"_target_": outputs + "VolumeReportd", "keys": "pred", "names": names, "output_dir": "@output_dir"}
        steps += [saved, report]
    overlay = {"_target_": outputs + "OverlaySaverd", "_disabled_": "$str(@overlay).lower() != 'true'"}
    steps.append({**overlay, "keys": "pred", "image_key": "original", "output_dir": "@output_dir"})
    return steps


def ensemble_config() -> Record:
    """``configs/ensemble.json``: overrides ``inference.json`` or ``evaluate.json`` by the mean of all trained folds."""
    return {
        "network": "$checks.or_stop(planned.mean_of_folds, @network_def, @ckpt_dir).to(@device)",
        "initialize": [
            "$monai.utils.set_determinism(seed=0)",
            "$checks.or_stop(checks.check_output_dir, @output_dir)",
        ],
    }
