"""``python -m medmamba_monai convert SOURCE --output DEST``: a U-Mamba of nnU-Net as a bundle, and back.

SOURCE is a result folder of nnU-Net (plans.json, dataset.json, fold_0/checkpoint_final.pth), and DEST becomes a bundle;
or SOURCE is a planned or converted bundle, and DEST becomes a result folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medmamba_monai import weights
from medmamba_monai.autoconfig.nnunet_plans import plan_from_nnunet, plan_to_nnunet
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.planned.inference import trained_folds
from medmamba_monai.collection.planned.write import PLAN, write_bundle
from medmamba_monai.collection.savers import replacing
from medmamba_monai.weights.umamba_names import umamba_names

__all__ = ["from_nnunet", "main", "to_nnunet"]

Record = dict[str, Any]
KEPT = {"plans.json": "configs/nnunet_plans.json", "dataset.json": "configs/nnunet_dataset.json"}


def main(argv: Sequence[str]) -> int:
    """Converts one way or the other; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    options = _parser().parse_args(argv)
    source, target = Path(options.source).expanduser(), Path(options.output).expanduser()
    if (source / PLAN).is_file():
        to_nnunet(source, target)
    elif all((source / name).is_file() for name in KEPT):
        from_nnunet(source, target, options.checkpoint)
    else:
        raise InputError(f"{source} is neither a result folder of nnU-Net (plans.json, dataset.json) nor a bundle")
    print(f"{target}: converted from {source}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m medmamba_monai convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="result folder of nnU-Net, or a bundle")
    parser.add_argument("--output", metavar="DEST", required=True, help="new folder")
    parser.add_argument("--checkpoint", metavar="NAME", default="checkpoint_final.pth", help="file of each fold")
    return parser


def from_nnunet(source: Path, root: Path, checkpoint: str = "checkpoint_final.pth") -> None:
    """Turn a result folder of nnU-Net into a bundle with the weights of all its folds.

    Args:
        source: folder with plans.json, dataset.json and fold_K/checkpoint_final.pth.
        root: folder of the new bundle.
        checkpoint: name of the file of each fold.

    Raises:
        InputError: there is no checkpoint, or the network is no U-Mamba.
    """
    files = {file.parent.name: file for file in sorted(source.glob(f"fold_*/{checkpoint}"))}
    if not files:
        raise InputError(f"{source} holds no fold_0/{checkpoint}: give --checkpoint NAME")
    plans, dataset = (json.loads((source / name).read_text(encoding="utf-8")) for name in KEPT)
    contents = {fold: weights.read(file) for fold, file in files.items()}
    first = next(iter(contents.values()))
    plan = plan_from_nnunet(plans, dataset, *_configuration(source, first))
    mirrored = first.get("inference_allowed_mirroring_axes")
    if mirrored is not None:
        plan["augmentation"]["mirror_axes"] = list(mirrored)
    states = {fold: weights.convert(content, _network(plan)) for fold, content in contents.items()}
    write_bundle(root, plan, {"folds": [], "test": [], "groups": {}}, {}, None)
    for name, kept in KEPT.items():
        with replacing(root / kept) as temporary:
            shutil.copyfile(source / name, temporary)
    for fold, state in states.items():
        _save(state, root / "models" / fold / "model.pt")
    _save(next(iter(states.values())), root / "models" / "model.pt")


def _configuration(source: Path, content: Record) -> tuple[str, str]:
    """Configuration and trainer, from the checkpoint or the folder's name."""
    parts = source.resolve().name.split("__")
    named = parts if len(parts) == 3 else [None, None, None]
    configuration = (content.get("init_args") or {}).get("configuration") or named[2]
    trainer = content.get("trainer_name") or named[0]
    if not configuration or not trainer:
        raise InputError(f"{source} does not tell trainer and configuration: name it TRAINER__PLANS__CONFIGURATION")
    return str(configuration), str(trainer)


def _network(plan: Record) -> torch.nn.Module:
    from monai.bundle import ConfigParser

    network: torch.nn.Module = ConfigParser({"network_def": plan["network_def"]}).get_parsed_content("network_def")
    return network


def _save(content: Any, path: Path) -> None:
    with replacing(path) as temporary:
        torch.save(content, temporary)


def to_nnunet(root: Path, target: Path) -> None:
    """Turn a bundle whose network is that of U-Mamba's public code into a result folder of nnU-Net.

    Args:
        root: folder of the bundle.
        target: new folder.

    Raises:
        InputError: the bundle is not trained, or the folder exists.
    """
    if target.exists():
        raise InputError(f"{target} exists: choose a new folder for --output")
    plan = json.loads((root / PLAN).read_text(encoding="utf-8"))
    plans, dataset, configuration, trainer = plan_to_nnunet(plan)
    folds = {file.parent.name: file for file in trained_folds(root / "models")}
    if not folds:
        raise InputError(f"{root} holds no models/fold_0/model.pt: train it first")
    network = _network(plan)
    for name, content in zip(KEPT, (plans, dataset), strict=True):
        kept = root / KEPT[name]
        text = kept.read_text(encoding="utf-8") if kept.is_file() else json.dumps(content, indent=4) + "\n"
        with replacing(target / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for fold, file in folds.items():
        state = weights.convert(weights.read(file), network)
        number = fold.removeprefix("fold_")
        content = {
            "network_weights": umamba_names(state, plan["network_def"]["variant"]),
            "trainer_name": trainer,
            "init_args": {"configuration": configuration, "fold": int(number) if number.isdigit() else number},
            "inference_allowed_mirroring_axes": tuple(plan["augmentation"]["mirror_axes"]),
        }
        _save(content, target / fold / "checkpoint_final.pth")
