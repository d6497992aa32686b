"""``python -m medmamba_monai train BUNDLE``: trains a planned bundle fold by fold, and goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.planned.components import choose
from medmamba_monai.collection.planned.inference import trained_folds
from medmamba_monai.collection.planned.lock import locked
from medmamba_monai.collection.planned.parts import LOW, dump
from medmamba_monai.collection.planned.steps import cascaded
from medmamba_monai.collection.planned.write import PLACES, PLAN
from medmamba_monai.collection.savers import replacing

__all__ = ["Fold", "main", "train_fold"]


def main(argv: Sequence[str]) -> int:
    """Trains folds, chooses the post-processing and writes the report; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    options = _parser().parse_args(argv)
    root = Path(options.bundle).expanduser().resolve()
    if not (root / PLAN).is_file():
        raise InputError(f"{root} holds no {PLAN}: make it with python -m medmamba_monai plan DATASET --output {root}")
    plan = json.loads((root / PLAN).read_text(encoding="utf-8"))
    data = _dataset(root, options.dataset)
    count = plan["training"]["folds"]
    wanted = range(count) if options.fold == "all" else [int(options.fold)]
    if not set(wanted) <= set(range(count)):
        raise InputError(f"fold {options.fold} does not exist: the folds are 0 to {count - 1}, or all")
    epochs = plan["training"]["epochs"]
    with locked(root):
        if cascaded(plan):
            _train_first_stage(root, plan, data)
        for number in wanted:
            train_fold(Fold(root, number, epochs), data)
            finish(root, plan)
    print(f"{root / 'docs' / 'report.md'}: the report")
    return 0


def _train_first_stage(root: Path, plan: dict[str, Any], data: str) -> None:
    """All folds of a cascade's first stage: together they tell of every case what a network finds that never saw it."""
    for number in range(plan["training"]["folds"]):
        train_fold(Fold(root, number, plan[LOW]["training"]["epochs"], LOW), data)
    _publish(root / "models" / LOW)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai train", description=__doc__)
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that 'plan' wrote")
    parser.add_argument("--fold", default="0", metavar="K", type=_fold, help="number of the fold, or all (default 0)")
    parser.add_argument("--dataset", metavar="DATASET", help="where the data lie, if not where they were planned")
    return parser


def _fold(text: str) -> str:
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'all'")
    return text


def _dataset(root: Path, given: str | None) -> str:
    if given is not None:
        return str(Path(given).expanduser().resolve())
    if not (root / PLACES).is_file():
        raise InputError(f"{root} does not say where its data lie: give --dataset DATASET")
    found: str = json.loads((root / PLACES).read_text(encoding="utf-8"))["dataset_dir"]
    return found


class Fold:
    """Where one fold of a planned bundle keeps what it makes.

    Args:
        root: folder of the bundle.
        number: number of the fold.
        epochs: epochs of a whole training.
        stage: folder of the stage inside ``configs``, ``models`` and ``eval``; empty for the last one.
    """

    def __init__(self, root: Path, number: int, epochs: int, stage: str = "") -> None:
        self.root, self.number, self.epochs = root, number, epochs
        self.name = f"{stage.replace('_', ' ')}{' ' if stage else ''}fold {number}"
        self.configs = root / "configs" / stage
        self.weights = root / "models" / stage / f"fold_{number}"
        self.output = root / "eval" / stage / f"fold_{number}"
        self.validation = self.output / "validation"

    @property
    def done(self) -> int:
        """Epochs that were trained."""
        from medmamba_monai import weights

        state = self.weights / "last.pt"
        return int(weights.read(state)["epoch"]) if state.is_file() else 0

    @property
    def validated(self) -> bool:
        """Whether the newest weights were evaluated on the validation cases."""
        found, model = self.validation / "metrics.json", self.weights / "model.pt"
        return found.is_file() and found.stat().st_mtime_ns >= model.stat().st_mtime_ns


def train_fold(fold: Fold, dataset: str) -> None:
    """Train what is left of one fold, then evaluate its validation cases.

    Args:
        fold: the fold.
        dataset: folder of the data.
    """
    done = fold.done
    if done < fold.epochs:
        print(f"{fold.name}: {'goes on after' if done else 'starts;'} epoch {done} of {fold.epochs}", flush=True)
        _run(fold, ["train"], dataset, fold.output, resume=done > 0)
    else:
        print(f"{fold.name}: trained, {done} epochs", flush=True)
    if not fold.validated:
        # the choice of the post-processing compares with the bare prediction
        _run(fold, ["train", "evaluate"], dataset, fold.validation, section="val", keep_largest=[])


def _run(fold: Fold, names: list[str], dataset: str, output: Path, **options: Any) -> None:
    from monai.bundle import ConfigWorkflow

    configs = fold.root / "configs"
    flow = ConfigWorkflow(
        config_file=[str(fold.configs / f"{name}.json") for name in names],
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        workflow_type="train",
        bundle_root=str(fold.root),
        dataset_dir=dataset,
        ckpt_dir=str(fold.weights),
        output_dir=str(output),
        fold=fold.number,
        **options,
    )
    flow.initialize()
    flow.run()
    flow.finalize()


def finish(root: Path, plan: dict[str, Any]) -> None:
    """Choose the post-processing on all folds trained so far, put one fold's weights in place, write the report.

    Args:
        root: folder of the bundle.
        plan: the plan.
    """
    from medmamba_monai.collection.planned.report import write_report

    names = [name for name in plan["dataset"]["labels"] if name != "background"]
    trials = sorted(root.glob("eval/fold_*/validation/components.json"))
    with replacing(root / "configs" / "postprocessing.json") as temporary:
        temporary.write_text(dump({"keep_largest": choose(trials, names)}) + "\n", encoding="utf-8")
    _publish(root / "models")
    write_report(root, plan)


def _publish(models: Path) -> None:
    with replacing(models / "model.pt") as temporary:
        shutil.copyfile(trained_folds(models)[0], temporary)
