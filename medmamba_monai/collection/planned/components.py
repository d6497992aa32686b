"""The largest component of each class: tried on validation cases, kept where it helps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.transforms import KeepLargestConnectedComponent
from torch import Tensor

from medmamba_monai.collection.savers import replacing

__all__ = ["ComponentTrial", "choose", "kept_classes"]


class ComponentTrial:
    """Writes the Dice of every class, as predicted and with its largest component alone, to ``components.json``.

    Args:
        output_dir: folder to write to.
        classes: names of the classes, background excluded.
    """

    def __init__(self, output_dir: str | Path, classes: Sequence[str]) -> None:
        self.path = Path(output_dir) / "components.json"
        self.classes = tuple(classes)
        self.rows: dict[str, dict[str, list[float]]] = {}

    def attach(self, engine: Engine) -> None:
        """Listens to an evaluator.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _begin(self, engine: Engine) -> None:
        self.rows = {}

    def _collect(self, engine: Engine) -> None:
        state: Any = engine.state
        for item, output in zip(state.batch, state.output, strict=True):
            row = {}
            for number, name in enumerate(self.classes, start=1):
                pred, label = output["pred"][number] > 0, output["label"][number] > 0
                if label.any():
                    row[name] = [_dice(pred, label), _dice(_largest(pred), label)]
            self.rows[str(item["case"])] = row

    def _write(self, engine: Engine) -> None:
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self.rows, indent=1) + "\n", encoding="utf-8")


def _largest(mask: Tensor) -> Tensor:
    kept: Any = KeepLargestConnectedComponent(applied_labels=[1], connectivity=1)(mask[None].float())
    return torch.as_tensor(kept)[0] > 0


def _dice(pred: Tensor, label: Tensor) -> float:
    return 2 * float((pred & label).sum()) / float(pred.sum() + label.sum())


def choose(trials: Iterable[str | Path], classes: Sequence[str]) -> list[int]:
    """The class numbers for which the largest component alone gave the better mean Dice.

    Args:
        trials: files ``components.json`` of the folds.
        classes: names of the classes, background excluded.
    """
    rows = [row for file in trials for row in json.loads(Path(file).read_text(encoding="utf-8")).values()]
    chosen = []
    for number, name in enumerate(classes, start=1):
        pairs = [row[name] for row in rows if name in row]
        if sum(after - before for before, after in pairs) > 0:
            chosen.append(number)
    return chosen


def kept_classes(file: str | Path) -> list[int]:
    """The classes whose largest component alone is kept, as chosen on validation; none before.

    Args:
        file: the bundle's ``configs/postprocessing.json``.
    """
    path = Path(file)
    found: list[int] = json.loads(path.read_text(encoding="utf-8"))["keep_largest"] if path.is_file() else []
    return found
