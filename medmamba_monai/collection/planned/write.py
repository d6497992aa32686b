"""``python -m medmamba_monai plan DATASET --output BUNDLE``: plans a bundle for a data set and writes it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medmamba_monai.autoconfig.budget import Budget
from medmamba_monai.autoconfig.cases import open_data
from medmamba_monai.autoconfig.fingerprint import fingerprint
from medmamba_monai.autoconfig.networks import NETWORKS
from medmamba_monai.autoconfig.plan import make_plan
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.planned import inference_configs, pages, training_configs
from medmamba_monai.collection.planned.items import make_folds
from medmamba_monai.collection.planned.lock import LOCK, locked
from medmamba_monai.collection.planned.parts import LOW, dump, first_stage_plan
from medmamba_monai.collection.planned.steps import cascaded
from medmamba_monai.collection.savers import replacing

__all__ = ["PLAN", "main", "write_bundle"]

Record = dict[str, Any]
PLAN = "configs/plan.json"
PLACES = ".local.json"  # hidden, so that no release carries the folders of one machine
DEFAULT_HOURS = 2.0
STAGES = "of large images: low for the coarse stage alone, cascade for both, one after the other"


def main(argv: Sequence[str]) -> int:
    """Plans and writes a bundle; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    options = _parser().parse_args(argv)
    root = Path(options.output).expanduser()
    _check_name(root.name)
    budget, given = _budget(options), dict(map(_given, options.set))
    data = open_data(options.dataset, options.groups)
    found = fingerprint(data)
    plan = make_plan(found, budget, options.network, options.resolution, given)
    splits = {
        "folds": make_folds(found["by_case"], plan["training"]["folds"], plan["training"]["seed"]),
        "test": sorted(case.name for case in data.cases if case.test),
        "groups": {case.name: case.group for case in data.cases},
    }
    new = write_bundle(root, plan, splits, found, Path(options.dataset).expanduser().resolve())
    print("\n".join(plan["because"]))
    print(f"{root}: {'planned' if new else 'was planned like this before, nothing was changed'}")
    print(f"train it: python -m medmamba_monai train {root}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai plan", description=__doc__)
    parser.add_argument("dataset", metavar="DATASET", help="folder: nnU-Net raw, Decathlon, MONAI datalist, or images/")
    parser.add_argument("--output", metavar="BUNDLE", required=True, help="folder of the bundle to write")
    parser.add_argument("--network", choices=list(NETWORKS), default="umamba_bottleneck", help="what to train")
    parser.add_argument("--gpu-gb", type=float, default=0, metavar="N", help="memory of the GPU in GB")
    parser.add_argument("--cpu-cores", type=int, default=0, metavar="N", help="train on this many CPU cores")
    parser.add_argument("--hours", type=float, default=DEFAULT_HOURS, metavar="M", help="hours a fold on the CPU")
    parser.add_argument("--resolution", choices=["full", "low", "cascade"], default="full", help=STAGES)
    parser.add_argument("--groups", metavar="FILE", help="JSON {case: group}; the cases of a group stay together")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value of the plan, such as configuration.patch_size=[64,64,64]; may be repeated",
    )
    return parser


def _budget(options: argparse.Namespace) -> Budget:
    if options.gpu_gb and options.cpu_cores:
        raise InputError("both --gpu-gb and --cpu-cores were given: give one budget")
    if options.gpu_gb:
        return Budget(gpu_gb=options.gpu_gb)
    if not options.cpu_cores:
        import torch

        if torch.cuda.is_available():
            return Budget(gpu_gb=8)  # nnU-Net's own budget
    return Budget(cores=options.cpu_cores or os.cpu_count() or 1, hours=options.hours)


def _given(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text!r} has no value: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def write_bundle(root: Path, plan: Record, splits: Record, found: Mapping[str, Any], dataset: Path | None) -> bool:
    """Write a planned bundle; False when it was there already, just so.

    The plan is written last: a folder without one was interrupted, and is written anew.

    Args:
        root: folder of the bundle.
        plan: the plan.
        splits: folds, test list and groups.
        found: the fingerprint.
        dataset: where the data lie on this machine; None when they are unknown.

    Raises:
        InputError: the folder holds something else, or another plan, or another process works on it.
    """
    _check_name(root.name)
    strange = root.is_dir() and not (root / LOCK).is_file() and any(root.iterdir())
    if strange or root.is_file():
        raise InputError(f"{root} is no planned bundle: choose a new folder for --output")
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        if (root / PLAN).is_file():
            _compare(root, plan)
            return False
        texts = _texts(root.name, plan, splits, found)
        if dataset is not None:
            texts[PLACES] = dump({"dataset_dir": str(dataset)})
        texts[PLAN] = dump(plan)
        (root / "models").mkdir(exist_ok=True)
        for name, text in texts.items():
            with replacing(root / name) as temporary:
                temporary.write_text(text.rstrip() + "\n", encoding="utf-8")
    return True


def _check_name(name: str) -> None:
    if "_v" in name:
        raise InputError(f"the name {name!r} holds '_v', at which MONAI cuts a bundle's name: choose another --output")


def _texts(name: str, plan: Record, splits: Record, found: Mapping[str, Any]) -> dict[str, str]:
    texts = {
        "configs/metadata.json": json.dumps(pages.metadata(plan), indent=4, ensure_ascii=False),
        "configs/train.json": dump(training_configs.train_config(plan)),
        "configs/evaluate.json": dump(inference_configs.evaluate_config(plan)),
        "configs/inference.json": dump(inference_configs.inference_config(plan)),
        "configs/ensemble.json": dump(inference_configs.ensemble_config(plan)),
        "configs/multi_gpu_train.json": dump(training_configs.multi_gpu_config()),
        "configs/postprocessing.json": dump({"keep_largest": []}),
        "configs/splits.json": json.dumps(splits, indent=1, ensure_ascii=False),
        "configs/logging.conf": pages.LOGGING,
        "docs/README.md": pages.page(plan, name),
        "docs/data_license.txt": pages.DATA_LICENSE.format(name=plan["dataset"]["name"]),
        "docs/fingerprint.json": dump(found),
        "LICENSE": pages.LICENSE,
    }
    if cascaded(plan):
        low = first_stage_plan(plan)
        texts[f"configs/{LOW}/train.json"] = dump(training_configs.train_config(low, LOW))
        texts[f"configs/{LOW}/evaluate.json"] = dump(inference_configs.evaluate_config(low, save=True))
    return texts


def _compare(root: Path, plan: Record) -> None:
    old = json.loads((root / PLAN).read_text(encoding="utf-8"))
    new = json.loads(json.dumps(plan))
    differ = sorted(_differences(old, new, ""))
    if differ:
        shown = ", ".join(differ[:8])
        raise InputError(f"{root} holds another plan (it differs in {shown}): choose another --output, or remove it")


def _differences(old: Any, new: Any, name: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        return [found for key in keys for found in _differences(old.get(key), new.get(key), f"{name}.{key}".strip("."))]
    return [] if old == new else [name]
