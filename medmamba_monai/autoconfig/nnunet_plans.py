"""nnU-Net's ``plans.json`` and ``dataset.json`` as a plan of ours, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medmamba_monai.autoconfig.cases import PICTURES, DataFault
from medmamba_monai.networks.nets.umamba_variants import released_block_counts

__all__ = ["even_blocks", "plan_from_nnunet", "plan_to_nnunet", "released_network"]

Record = dict[str, Any]
SCHEMES = {
    "ZScoreNormalization": "zscore",
    "CTNormalization": "ct",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "range",
    "RGBTo01Normalization": "colour",
}
REORIENTED = "NibabelIOWithReorient"
RESAMPLING = "resample_data_or_seg_to_shape"


def released_network(
    variant: str, plan: Mapping[str, Any], blocks: Sequence[Sequence[int]], in_channels: int, out_channels: int
) -> Record:
    """The ``network_def`` of the network that the authors' public code builds from a configuration.

    Args:
        variant: "bottleneck" or "encoder".
        plan: ``patch_size``, ``features``, ``strides`` and ``kernel_sizes``.
        blocks: blocks of the encoder and decoder stages; in the deeper half the authors set 1.
        in_channels: channels of the image.
        out_channels: classes with the background.
    """
    dims, stages = len(plan["patch_size"]), len(plan["features"])
    lowered = [
        [1 if limit == 1 else count for count, limit in zip(given, limits, strict=True)]
        for given, limits in zip(blocks, released_block_counts(stages), strict=True)
    ]
    network: Record = {
        "_target_": "medmamba_monai.networks.nets.UMamba",
        "spatial_dims": dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
        **{name: plan[name] for name in ("features", "strides", "kernel_sizes")},
        "n_blocks": lowered[0],
        "n_decoder_blocks": lowered[1],
        "variant": variant,
        "design": "released",
        "top_skip": dims == 3,
        "deep_supervision": True,
    }
    if variant == "encoder":
        network |= {"channel_tokens": True, "img_size": plan["patch_size"]}
        if dims == 2:
            network["mamba_stages"] = list(range(1 - stages % 2, stages, 2))
    return network


def even_blocks(plan: Mapping[str, Any]) -> list[list[int]]:
    """Blocks of the encoder and decoder stages, as many in each: what nnU-Net's plans hold.

    Args:
        plan: ``n_blocks`` and ``n_decoder_blocks``.

    Example:
        >>> even_blocks({"n_blocks": [1, 1, 2], "n_decoder_blocks": [1, 1]})
        [[2, 2, 2], [1, 1]]
    """
    return [[max(row)] * len(row) for row in (plan["n_blocks"], plan["n_decoder_blocks"])]


def plan_from_nnunet(plans: Mapping[str, Any], dataset: Mapping[str, Any], name: str, trainer: str) -> Record:
    """A plan with the preprocessing, network and inference of an nnU-Net configuration.

    Args:
        plans: content of plans.json.
        dataset: content of dataset.json.
        name: configuration, such as 3d_fullres.
        trainer: name of the trainer's class, which tells the network.

    Raises:
        DataFault: the configuration is missing or not supported.
    """
    values = plans["configurations"].get(name)
    if values is None or "patch_size" not in values:
        raise DataFault(f"configuration {name!r} of plans.json cannot be converted: choose 2d (pictures) or 3d_fullres")
    if "UMambaEnc" not in trainer and "UMambaBot" not in trainer:
        raise DataFault(f"trainer {trainer!r} trained no U-Mamba: its network has no counterpart here")
    dims, pictures = len(values["patch_size"]), dataset.get("file_ending", "").lower() in PICTURES
    if (dims == 2) != pictures:
        raise DataFault(f"configuration {name!r} reads slices of volumes: give whole volumes, or pictures")
    architecture = _architecture(values, dims)
    channels = list((dataset.get("channel_names") or dataset.get("modality") or {}).values())
    configuration = {
        "spacing": list(values["spacing"]),
        "median_shape": list(values["median_image_size_in_voxels"]),
        "patch_size": list(values["patch_size"]),
        "batch_size": values["batch_size"],
        **architecture,
        **_preprocessing(plans, values, len(channels)),
    }
    variant = "encoder" if "UMambaEnc" in trainer else "bottleneck"
    blocks = (architecture["n_blocks"], architecture["n_decoder_blocks"])
    network = released_network(variant, configuration, blocks, len(channels), len(dataset["labels"]))
    return {
        "format": 1,
        "dataset": _dataset(plans, dataset, channels, dims),
        "budget": {},
        "network": f"umamba_{variant}",
        "resolution": "full",
        "configuration": configuration,
        "low_resolution": None,
        "augmentation": {
            "rotation_degrees": 30 if dims == 3 else 180,
            "in_plane_only": dims == 3 and max(configuration["patch_size"]) > 3 * min(configuration["patch_size"]),
            "scale": [0.7, 1.4],
            "mirror_axes": list(range(dims)),
        },
        "training": dict(TRAINING),
        "inference": {"overlap": 0.5, "window": "gaussian", "mirror": True},
        "network_def": network,
        "given": [],
        "because": [f"Converted from nnU-Net's configuration {name} of {plans['dataset_name']}, trained by {trainer}."],
    }


TRAINING = {
    "epochs": 1000,
    "iterations_per_epoch": 250,
    "validate_every": 50,
    "learning_rate": 0.01,
    "momentum": 0.99,
    "weight_decay": 3e-5,
    "gradient_clip": 12,
    "foreground_share": 0.33,
    "folds": 5,
    "seed": 20240725,
}


def _architecture(values: Mapping[str, Any], dims: int) -> Record:
    """Features, strides, kernels and blocks, from the form of before or after version 2.4 of nnU-Net."""
    if "architecture" in values:
        found = values["architecture"]["arch_kwargs"]
        features, strides, kernels = (found[key] for key in ("features_per_stage", "strides", "kernel_sizes"))
        blocks = found.get("n_conv_per_stage") or found["n_blocks_per_stage"]
        up = found["n_conv_per_stage_decoder"]
    else:
        strides, kernels = values["pool_op_kernel_sizes"], values["conv_kernel_sizes"]
        base, most = values["UNet_base_num_features"], values["unet_max_num_features"]
        features = [min(base * 2**stage, most) for stage in range(len(strides))]
        blocks, up = values["n_conv_per_stage_encoder"], values["n_conv_per_stage_decoder"]
    rows = {"strides": [list(row) for row in strides], "kernel_sizes": [list(row) for row in kernels]}
    return {"features": list(features), **rows, "n_blocks": list(blocks), "n_decoder_blocks": list(up)}


def _preprocessing(plans: Mapping[str, Any], values: Mapping[str, Any], channels: int) -> Record:
    unknown = [scheme for scheme in values["normalization_schemes"] if scheme not in SCHEMES]
    wrong = [key for key in ("data", "seg", "probabilities") if values[f"resampling_fn_{key}"] != RESAMPLING]
    if unknown or wrong:
        what = f"normalisation {unknown[0]!r}" if unknown else f"resampling of {wrong[0]}"
        raise DataFault(f"the {what} of plans.json has no counterpart here: only nnU-Net's own ways are converted")
    properties = plans["foreground_intensity_properties_per_channel"]
    image, label, chance = (values[f"resampling_fn_{key}_kwargs"] for key in ("data", "seg", "probabilities"))
    return {
        "crop_to_nonzero": True,
        "normalisation": [SCHEMES[scheme] for scheme in values["normalization_schemes"]],
        "nonzero_only": [bool(mask) for mask in values["use_mask_for_norm"]],
        "intensities": [properties.get(str(channel), {}) for channel in range(channels)],
        "image_order": image["order"],
        "label_order": label["order"],
        "prediction_order": chance["order"],
        "order_across_slices": image["order_z"],
        "batch_dice": bool(values.get("batch_dice", False)),
    }


def _dataset(plans: Mapping[str, Any], dataset: Mapping[str, Any], channels: Sequence[str], dims: int) -> Record:
    labels = dataset["labels"]
    if any(not isinstance(value, int) for value in labels.values()) or "ignore" in labels:
        raise DataFault("dataset.json has regions or an ignore label: only one whole number a class is converted")
    forward = plans["transpose_forward"]
    # nnU-Net's arrays run z, y, x; of a picture it holds one slice
    order = [2 - axis for axis in forward] if dims == 3 else [2 - axis for axis in forward[1:]]
    return {
        "name": plans["dataset_name"],
        "layout": "nnunet",
        "spatial_dims": dims,
        "pictures": dims == 2,
        "axes": {"reorient": plans["image_reader_writer"] == REORIENTED, "order": order},
        # a picture's colours stand in one file
        "files_per_case": 1 if dims == 2 else len(channels),
        "training_cases": dataset["numTraining"],
        "test_cases": 0,
        "groups": dataset["numTraining"],
        "channels": list(channels),
        "labels": dict(sorted(labels.items(), key=lambda pair: int(pair[1]))),
        "label_values": sorted(labels.values()),
        "class_sizes": {},
    }


def plan_to_nnunet(plan: Mapping[str, Any]) -> tuple[Record, Record, str, str]:
    """plans.json, dataset.json, configuration and trainer of a plan whose network the authors' code can build.

    Args:
        plan: the plan.

    Raises:
        DataFault: the network is not one of the authors' public code.
    """
    values, data, network = plan["configuration"], plan["dataset"], plan["network_def"]
    if plan["resolution"] != "full":
        raise DataFault(f"the resolution is {plan['resolution']!r}: only a network of full resolution alone goes back")
    variant = network.get("variant", "bottleneck")
    full = even_blocks(values)
    wanted = released_network(variant, values, full, len(data["channels"]), len(data["labels"]))
    differ = sorted(key for key in {**wanted, **network} if wanted.get(key) != network.get(key))
    if differ:
        raise DataFault(
            f"the network differs from that of U-Mamba's public code in {', '.join(differ)}: plan with "
            "--network umamba_bottleneck_released or umamba_encoder_released"
        )
    dims = int(data["spatial_dims"])
    axes = data.get("axes") or {"reorient": dims == 3, "order": list(range(dims))}
    forward = [2 - axis for axis in axes["order"]]
    forward = forward if dims == 3 else [0, *forward]
    name = "3d_fullres" if dims == 3 else "2d"
    reader = ("NibabelIOWithReorient" if axes["reorient"] else "SimpleITKIO") if dims == 3 else "NaturalImage2DIO"
    plans = {
        "dataset_name": data["name"],
        "plans_name": "nnUNetPlans",
        "image_reader_writer": reader,
        "transpose_forward": forward,
        "transpose_backward": [forward.index(axis) for axis in range(3)],
        "configurations": {name: _configuration(values, full, dims)},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(c): p for c, p in enumerate(values["intensities"])},
    }
    about = {
        "channel_names": {str(number): channel for number, channel in enumerate(data["channels"])},
        "labels": data["labels"],
        "numTraining": data["training_cases"],
        "file_ending": ".nii.gz" if dims == 3 else ".png",
    }
    return plans, about, name, "nnUNetTrainerUMamba" + ("Enc" if variant == "encoder" else "Bot")


def _configuration(values: Mapping[str, Any], blocks: Sequence[Sequence[int]], dims: int) -> Record:
    names = {scheme: name for name, scheme in SCHEMES.items()}
    orders = {"data": values["image_order"], "seg": values["label_order"], "probabilities": values["prediction_order"]}
    resampling: Record = {}
    for key, order in orders.items():
        resampling[f"resampling_fn_{key}"] = RESAMPLING
        rest = {"order_z": values["order_across_slices"], "force_separate_z": None}
        resampling[f"resampling_fn_{key}_kwargs"] = {"is_seg": key == "seg", "order": order, **rest}
    pools = [int(math.log2(math.prod(row[axis] for row in values["strides"]))) for axis in range(dims)]
    return {
        "data_identifier": "nnUNetPlans_3d_fullres" if dims == 3 else "nnUNetPlans_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": values["batch_size"],
        "patch_size": values["patch_size"],
        "median_image_size_in_voxels": values["median_shape"],
        "spacing": values["spacing"],
        "normalization_schemes": [names[scheme] for scheme in values["normalisation"]],
        "use_mask_for_norm": values["nonzero_only"],
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": values["features"][0],
        "n_conv_per_stage_encoder": blocks[0],
        "n_conv_per_stage_decoder": blocks[1],
        "num_pool_per_axis": pools,
        "pool_op_kernel_sizes": values["strides"],
        "conv_kernel_sizes": values["kernel_sizes"],
        "unet_max_num_features": max(values["features"]),
        **resampling,
        "batch_dice": values["batch_dice"],
    }
