"""The report of a planned bundle: results of the trained folds on their validation cases, curves and pictures."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medmamba_monai.collection.history import draw_curves
from medmamba_monai.collection.planned.parts import LOW
from medmamba_monai.collection.record import training
from medmamba_monai.collection.savers import replacing
from medmamba_monai.collection.wording import interval, markdown

__all__ = ["write_report"]

Record = dict[str, Any]
WORST = 5
PICTURES = {"typical": "a middling case", "worst": "the worst case"}


def write_report(root: Path, plan: Mapping[str, Any]) -> None:
    """Write ``docs/report.md`` with its pictures, from what the folds left in ``eval``.

    Args:
        root: folder of the bundle.
        plan: the plan.
    """
    folds = sorted(file.parent for file in root.glob("eval/fold_*/validation/metrics.json"))
    names = [name for name in plan["dataset"]["labels"] if name != "background"]
    parts = [f"# Report of {root.name}", _introduction(plan, len(folds))]
    parts += ["## What was planned", "\n".join(f"- {reason}" for reason in plan["because"])]
    parts += ["## Results on the validation cases", _results(folds), _classes(folds, names)]
    first = sorted(file.parent for file in root.glob(f"eval/{LOW}/fold_*/validation/metrics.json"))
    if first:
        parts += ["## First stage, at low resolution, on the same cases", _results(first), _classes(first, names)]
    parts += ["## Largest component alone", _components(root, folds, names)]
    parts += ["## Learning curves", _curves(root, folds), "## Cases", _cases(folds), *_pictures(root, folds)]
    with replacing(root / "docs" / "report.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _introduction(plan: Mapping[str, Any], trained: int) -> str:
    data, count = plan["dataset"], plan["training"]["folds"]
    test = f" {data['test_cases']} test cases were not looked at." if data["test_cases"] else ""
    return (
        f"{trained} of {count} folds are trained; {data['training_cases']} cases in {data['groups']} groups that are "
        f"never parted.{test} The epoch of each fold was chosen on the validation cases that are reported here, so the "
        "numbers are slightly too good. Values are given with a 95 % interval, bootstrap over groups of cases."
    )


def _load(folder: Path) -> Record:
    found: Record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found


def _results(folds: Sequence[Path]) -> str:
    rows = []
    for folder in folds:
        found, run = _load(folder), training(folder.parent)
        metrics = found["metrics"]
        rows.append(
            [
                folder.parent.name.removeprefix("fold_"),
                str(found["cases"]),
                interval(metrics["dice_mean"], "dice_mean"),
                interval(metrics["hausdorff95_mean"], "hausdorff95_mean"),
                f"{run['epochs']} ({run['best_epoch']})",
                f"{run['training_minutes']:.0f} min",
            ]
        )
    return markdown(["fold", "cases", "mean Dice", "mean HD95", "epochs (kept)", "training"], rows)


def _classes(folds: Sequence[Path], names: Sequence[str]) -> str:
    rows = []
    for name in names:
        dice = [_load(folder)["metrics"][f"dice_{name}"] for folder in folds]
        rows.append([name, *(interval(number, f"dice_{name}") for number in dice)])
    return markdown(["Dice of class", *(f"fold {f.parent.name.removeprefix('fold_')}" for f in folds)], rows)


def _components(root: Path, folds: Sequence[Path], names: Sequence[str]) -> str:
    kept = json.loads((root / "configs" / "postprocessing.json").read_text(encoding="utf-8"))["keep_largest"]
    trials = [json.loads((folder / "components.json").read_text(encoding="utf-8")) for folder in folds]
    rows = []
    for number, name in enumerate(names, start=1):
        pairs = [row[name] for trial in trials for row in trial.values() if name in row]
        before, after = (f"{sum(column) / len(pairs):.4f}" if pairs else "" for column in zip(*pairs, strict=True))
        rows.append([name, before, after, "yes" if number in kept else "no"])
    return markdown(["class", "Dice as predicted", "largest component alone", "kept for inference"], rows)


def _curves(root: Path, folds: Sequence[Path]) -> str:
    files = {folder.parent.name.replace("_", " "): folder.parent / "history.csv" for folder in folds}
    try:
        draw_curves(files, root / "docs" / "curves.png", "mean Dice on validation")
    except ImportError as error:
        return f"Not drawn: {error}."
    return "![Learning curves](curves.png)"


def _cases(folds: Sequence[Path]) -> str:
    rows = []
    for folder in folds:
        with open(folder / "metrics.csv", newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                values = [float(v) for k, v in row.items() if k.startswith("dice_") and v not in ("", "nan")]
                if values:
                    rows.append((sum(values) / len(values), row["case"], folder.parent.name))
    worst = [[case, fold.replace("_", " "), f"{dice:.3f}"] for dice, case, fold in sorted(rows)[:WORST]]
    return "The lowest mean Dice:\n\n" + markdown(["case", "fold", "mean Dice"], worst)


def _pictures(root: Path, folds: Sequence[Path]) -> list[str]:
    folder = folds[0]
    captions = json.loads((folder / "pictures" / "captions.json").read_text(encoding="utf-8"))
    told = []
    for name, text in captions.items():
        with replacing(root / "docs" / f"{name}_case.png") as temporary:
            shutil.copyfile(folder / "pictures" / f"{name}.png", temporary)
        what = PICTURES[name]
        told.append(f"{folder.parent.name.replace('_', ' ')}, {what}: {text}\n\n![{what}]({name}_case.png)")
    return told
