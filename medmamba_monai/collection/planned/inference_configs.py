"""The configs of a planned bundle that use its weights: evaluation, inference, ensemble of folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmamba_monai.collection.planned.parts import (
    AMP,
    DEVICE,
    IMPORTS,
    KEPT,
    LOW,
    Record,
    first_stage,
    floating,
    inverted,
    largest_component,
    listed,
    loader,
    mean_dice,
    mirrored_axes,
    saved_volume,
    window_inferer,
)
from medmamba_monai.collection.planned.steps import (
    HERE,
    cascaded,
    geometry_steps,
    join_steps,
    label_steps,
    load_steps,
    previous_steps,
)

__all__ = ["ensemble_config", "evaluate_config", "inference_config"]

CHECKS = ["$monai.utils.set_determinism(seed=0)", "$checks.or_stop(checks.check_output_dir, @output_dir)"]
LOADED = "$checks.or_stop(checkpoint.load_weights, @checkpoint, [@network])"


def evaluate_config(plan: Mapping[str, Any], save: bool = False) -> Record:
    """``configs/evaluate.json``: overrides ``train.json``, in the geometry of the files.

    Args:
        plan: the plan.
        save: whether label maps are written, too, as the second stage of a cascade needs them.
    """
    loaded = load_steps(plan, False)
    labelled = [{**step, "keys": ["image", "label"]} for step in loaded[:2]] + loaded[2:] + label_steps(plan)
    dataset = {"_target_": "Dataset", "data": listed(plan, "@section"), "transform": "@validate#preprocessing"}
    return {
        "imports": ["$import os", "$import torch.distributed as dist", *IMPORTS],
        "section": "test" if plan["dataset"]["test_cases"] else "val",
        "checkpoint": "$@ckpt_dir + '/model.pt'",
        "keep_largest": KEPT,
        "image_transforms": [
            *labelled,
            *previous_steps(plan),
            *geometry_steps(plan, False),
            floating(),
            *join_steps(plan),
        ],
        "train#handlers": [],
        "validate#preprocessing": {"_target_": "Compose", "transforms": "@image_transforms"},
        "validate#dataset": dataset,
        "validate#postprocessing": {"_target_": "Compose", "transforms": _compared(plan, save)},
        **_measured(plan),
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
        "initialize": ["$monai.utils.set_determinism(seed=@seed)", CHECKS[1], LOADED],
        "run": ["$checks.or_stop(@validate#evaluator.run)"],
    }


def _label_map() -> list[Record]:
    """From logits to class numbers on the grid of the image."""
    return [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}, largest_component()]


def _compared(plan: Mapping[str, Any], save: bool) -> list[Record]:
    classes = len(plan["dataset"]["labels"])
    return [
        inverted("@validate#preprocessing"),
        *_label_map(),
        *([saved_volume()] if save else []),
        {"_target_": "AsDiscreted", "keys": ["pred", "label"], "to_onehot": classes},
    ]


def _measured(plan: Mapping[str, Any]) -> Record:
    names = [name for name in plan["dataset"]["labels"] if name != "background"]
    picked = "$monai.handlers.from_engine(['pred', 'label'])"
    distance = {"include_background": False, "percentile": 95, "output_transform": picked}
    report = {"_target_": "medmamba_monai.collection.evaluation.SegmentationReport", "output_dir": "@output_dir"}
    return {
        "validate#key_metric": {"dice": mean_dice()},
        "validate#additional_metrics": {"hausdorff95": {"_target_": "HausdorffDistance", **distance}},
        "validate#handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {**report, "classes": names, "unit": "groups of cases"},
            {"_target_": HERE + "components.ComponentTrial", "output_dir": "@output_dir", "classes": names},
        ],
    }


def inference_config(plan: Mapping[str, Any]) -> Record:
    """``configs/inference.json``.

    Args:
        plan: the plan.
    """
    original = {"_target_": "CopyItemsd", "keys": "image", "names": "original"}
    steps = [
        *load_steps(plan, False),
        {**original, "_disabled_": "$str(@overlay).lower() != 'true'"},
        *previous_steps(plan),
        *geometry_steps(plan, False),
        floating(),
        *join_steps(plan),
    ]
    inputs = f"$checks.or_stop(items.planned_inputs, @image, @dataset_dir, {plan['dataset']['files_per_case']})"
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
        **first_stage(plan),
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "dataset": {"_target_": "Dataset", "data": inputs, "transform": "@preprocessing"},
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
        "initialize": [*CHECKS, LOADED],
        "run": ["$checks.or_stop(@evaluator.run)"],
    }


def _written(plan: Mapping[str, Any]) -> list[Record]:
    """What inference does with a prediction."""
    outputs = "medmamba_monai.collection.outputs."
    names = [name for name in plan["dataset"]["labels"] if name != "background"]
    steps = [inverted("@preprocessing"), *_label_map()]
    if plan["dataset"]["pictures"]:
        steps.append({"_target_": outputs + "LabelPictureSaverd", "keys": "pred", "output_dir": "@output_dir"})
    else:
        report = {"_target_": outputs + "VolumeReportd", "keys": "pred", "names": names, "output_dir": "@output_dir"}
        steps += [saved_volume(), report]
    overlay = {"_target_": outputs + "OverlaySaverd", "_disabled_": "$str(@overlay).lower() != 'true'"}
    steps.append({**overlay, "keys": "pred", "image_key": "original", "output_dir": "@output_dir"})
    return steps


def ensemble_config(plan: Mapping[str, Any]) -> Record:
    """``configs/ensemble.json``: overrides ``inference.json`` or ``evaluate.json`` by the mean of all trained folds.

    Args:
        plan: the plan.
    """
    first = {f"{LOW}#weights": f"$planned.trained_folds(@bundle_root + '/models/{LOW}')"} if cascaded(plan) else {}
    mean = "$checks.or_stop(planned.mean_of_folds, @network_def, @ckpt_dir).to(@device)"
    return {"network": mean, **first, "initialize": CHECKS}
