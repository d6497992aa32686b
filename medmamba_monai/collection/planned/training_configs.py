"""The training configs of a planned bundle, shaped like those of the collection's own bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmamba_monai.collection.planned.parts import (
    AMP,
    DEVICE,
    IMPORTS,
    Record,
    cached,
    first_stage,
    listed,
    loader,
    mean_dice,
    mirrored_axes,
    window_inferer,
)
from medmamba_monai.collection.planned.steps import (
    HERE,
    cascaded,
    geometry_steps,
    join_steps,
    keys_of,
    load_steps,
    margin_size,
    previous_steps,
    random_steps,
)

__all__ = ["multi_gpu_config", "train_config"]

CHECKED = [
    "$checks.or_stop(checks.check_output_dir, @output_dir)",
    "$checks.or_stop(checkpoint.load_weights, @ckpt_dir + '/model.pt', [@network, @average.ema_model]) "
    "if @load_pretrain else None",
]
RUN = [
    "$checks.or_stop(@train#handlers#8.restore, @train#trainer) if @resume else None",
    "$checks.or_stop(@train#trainer.run)",
]


def train_config(plan: Mapping[str, Any], folder: str = "") -> Record:
    """``configs/train.json``.

    Args:
        plan: the plan.
        folder: folder inside ``models`` and ``eval``, for the first stage of a cascade.
    """
    values, training = plan["configuration"], plan["training"]
    channels_last = "channels_last" if plan["dataset"]["spatial_dims"] == 2 else "channels_last_3d"
    place = f"/{folder}" if folder else ""
    return {
        "imports": ["$import os", "$import torch.distributed as dist", *IMPORTS],
        "bundle_root": ".",
        "ckpt_dir": f"$@bundle_root + '/models{place}'",
        "output_dir": f"$@bundle_root + '/eval{place}'",
        "dataset_dir": "$@bundle_root + '/data'",
        "split_file": "$@bundle_root + '/configs/splits.json'",
        "fold": 0,
        "load_pretrain": False,
        "resume": False,
        "seed": training["seed"],
        "epochs": training["epochs"],
        "iterations": training["iterations_per_epoch"],
        "val_interval": training["validate_every"],
        "batch_size": values["batch_size"],
        "learning_rate": training["learning_rate"],
        "num_workers": 0,
        "device": DEVICE,
        "patch_size": values["patch_size"],
        "margin_size": margin_size(plan),
        "window_size": values["patch_size"],
        "mirror_axes": mirrored_axes(plan),
        "network_def": plan["network_def"],
        "network": "$@network_def.to(@device)",
        "average": "@train#handlers#0",
        **first_stage(plan),
        **_optimisation(plan),
        "train": _train(plan),
        "validate": _validate(plan),
        "initialize": [
            "$monai.utils.set_determinism(seed=@seed)",
            f"$@network.to(memory_format=torch.{channels_last})",
            f"$@optimizer.register_step_pre_hook(planned.clip_gradients({training['gradient_clip']}))",
            *CHECKED,
        ],
        "run": RUN,
    }


def _optimisation(plan: Mapping[str, Any]) -> Record:
    training = plan["training"]
    loss = {"_target_": "DiceCELoss", "include_background": False, "to_onehot_y": True, "softmax": True}
    return {
        "loss": {
            "_target_": "DeepSupervisionLoss",
            "loss": loss | {"batch": plan["configuration"]["batch_dice"]},
        },
        "optimizer": {
            "_target_": "torch.optim.SGD",
            "params": "$@network.parameters()",
            "lr": "@learning_rate",
            "momentum": training["momentum"],
            "nesterov": True,
            "weight_decay": training["weight_decay"],
        },
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.PolynomialLR",
            "optimizer": "@optimizer",
            "total_iters": "$@epochs * len(@train#dataloader)",
            "power": 0.9,
        },
    }


def _train(plan: Mapping[str, Any]) -> Record:
    keys = keys_of(plan, True)
    indices = {"_target_": "ClassesToIndicesd", "keys": "label", "num_classes": len(plan["dataset"]["labels"])}
    steps = [*load_steps(plan, True), *previous_steps(plan), *geometry_steps(plan, True)]
    typed = {"_target_": "EnsureTyped", "keys": keys, "dtype": ["$torch.float32", *["$torch.uint8"] * (len(keys) - 1)]}
    return {
        "deterministic_transforms": [*steps, typed],
        "patch_transforms": [
            {"_target_": "SpatialPadd", "keys": keys, "spatial_size": "@margin_size"},
            {**indices, "indices_postfix": "_indices", "max_samples_per_class": 10_000},
        ],
        "random_transforms": random_steps(plan),
        "preprocessing": {
            "_target_": "Compose",
            "transforms": "$@train#deterministic_transforms + @train#patch_transforms + @train#random_transforms",
        },
        "dataset": cached(listed(plan, "'train'"), "@train#preprocessing"),
        "sampler": {
            "_target_": "torch.utils.data.RandomSampler",
            "data_source": "@train#dataset",
            "replacement": True,
            "num_samples": "$@iterations * @batch_size",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@train#dataset",
            "batch_size": "@batch_size",
            "sampler": "@train#sampler",
            "num_workers": "@num_workers",
        },
        "inferer": {"_target_": "SimpleInferer"},
        "handlers": _training_handlers(),
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": "@epochs",
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "optimizer": "@optimizer",
            "loss_function": "@loss",
            "inferer": "@train#inferer",
            "train_handlers": "@train#handlers",
            "decollate": False,
            "amp": AMP,
        },
    }


def _training_handlers() -> list[Record]:
    """The handlers of the trainer; others refer to them by number."""
    stats = {"tag_name": "train_loss", "output_transform": "$lambda output: output['loss']"}
    schedule = {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": False}
    validation = {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "epoch_level": True}
    return [
        {"_target_": "ignite.handlers.EMAHandler", "model": "@network", "momentum": 0.01, "handle_buffers": "update"},
        {**schedule, "epoch_level": False},
        {**validation, "interval": "@val_interval"},
        {"_target_": HERE + "seeds.EpochSeeds", "seed": "@seed", "dataset": "@train#dataset"},
        {"_target_": "StatsHandler", **stats},
        {"_target_": "TensorBoardStatsHandler", "log_dir": "@output_dir", **stats},
        {"_target_": "ignite.handlers.ProgressBar", "desc": "training", "ncols": 80},
        {
            "_target_": "medmamba_monai.collection.history.TrainingHistory",
            "output_dir": "@output_dir",
            "evaluator": "@validate#evaluator",
        },
        {
            "_target_": "medmamba_monai.collection.checkpoint.TrainingState",
            "path": "$@ckpt_dir + '/last.pt'",
            "objects": {
                "network": "@network",
                "average": "$@average.ema_model",
                "optimizer": "@optimizer",
                "lr_scheduler": "@lr_scheduler",
                "history": "@train#handlers#7",
            },
            "evaluator": "@validate#evaluator",
            "saver": "@validate#handlers#2",
        },
    ]


def _validate(plan: Mapping[str, Any]) -> Record:
    classes = len(plan["dataset"]["labels"])
    discrete = {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": classes}
    # in a cascade the last step makes channels of the first stage's classes
    joined = {"last_transforms": join_steps(plan)} if cascaded(plan) else {}
    steps = "@train#deterministic_transforms"
    steps = f"${steps} + @validate#last_transforms" if joined else steps
    return {
        **joined,
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "dataset": cached(listed(plan, "'val'"), "@validate#preprocessing"),
        "dataloader": loader("@validate#dataset"),
        "inferer": window_inferer(plan),
        "postprocessing": {"_target_": "Compose", "transforms": [discrete]},
        "key_metric": {"val_mean_dice": mean_dice()},
        "handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {"_target_": "TensorBoardStatsHandler", "log_dir": "@output_dir", "iteration_log": False},
            {
                "_target_": "medmamba_monai.collection.checkpoint.AtomicCheckpointSaver",
                "save_dir": "@ckpt_dir",
                "save_dict": {"model": "$@average.ema_model"},
                "key_metric_filename": "model.pt",
            },
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate#dataloader",
            "network": "$@average.ema_model",
            "inferer": "@validate#inferer",
            "postprocessing": "@validate#postprocessing",
            "key_val_metric": "@validate#key_metric",
            "val_handlers": "@validate#handlers",
            "amp": AMP,
        },
    }


def multi_gpu_config() -> Record:
    """``configs/multi_gpu_train.json``: overrides ``train.json``."""
    return {
        "device": "$torch.device('cuda:' + os.environ['LOCAL_RANK'] if torch.cuda.is_available() else 'cpu')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": "$[@device] if @device.type == 'cuda' else None",
        },
        "train#sampler": {
            "_target_": "DistributedSampler",
            "dataset": "@train#dataset",
            "even_divisible": True,
            "shuffle": True,
        },
        "train#trainer#train_handlers": "$@train#handlers if dist.get_rank() == 0 else @train#handlers[:4]",
        "validate#sampler": {
            "_target_": "DistributedSampler",
            "dataset": "@validate#dataset",
            "even_divisible": False,
            "shuffle": False,
        },
        "validate#dataloader#sampler": "@validate#sampler",
        "validate#evaluator#val_handlers": "$@validate#handlers if dist.get_rank() == 0 else None",
        "initialize": [
            "$dist.is_initialized() or dist.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')",
            "$torch.cuda.set_device(@device) if @device.type == 'cuda' else None",
            "$monai.utils.set_determinism(seed=@seed)",
            *CHECKED,
        ],
        "run": RUN,
        "finalize": ["$dist.is_initialized() and dist.destroy_process_group()"],
    }
