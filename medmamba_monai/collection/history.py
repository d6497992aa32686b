"""The learning curve of a training: a table that survives a resume, and a picture."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from medmamba_monai.collection.savers import replacing

__all__ = ["TrainingHistory", "draw_curves"]

COLUMNS = ("epoch", "loss", "metric", "seconds")


class TrainingHistory:
    """Records each epoch's mean loss, validation metric and time, and writes ``history.csv`` once an epoch.

    Put it behind the validation among the handlers of the trainer.

    Args:
        output_dir: folder of ``history.csv``.
        evaluator: validation engine.
    """

    def __init__(self, output_dir: str | Path, evaluator: Engine) -> None:
        self.path = Path(output_dir) / "history.csv"
        self.evaluator = evaluator
        self.rows: list[dict[str, Any]] = []
        self._losses: list[float] = []
        self._start = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Listens to the trainer.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end)

    def _begin(self, engine: Engine) -> None:
        self._losses = []
        self._start = time.monotonic()

    def _add(self, engine: Engine) -> None:
        output = engine.state.output
        first: Any = output[0] if isinstance(output, list) else output
        self._losses.append(float(first["loss"]))

    def _end(self, engine: Engine) -> None:
        state: Any = self.evaluator.state
        validated = state.epoch == engine.state.epoch and bool(state.metrics)
        row = {
            "epoch": engine.state.epoch,
            "loss": sum(self._losses) / max(len(self._losses), 1),
            "metric": float(state.metrics[state.key_metric_name]) if validated else None,
            "seconds": time.monotonic() - self._start,
        }
        self.rows.append(row)
        with replacing(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Returns the rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the rows of an earlier run.

        Args:
            state: what :meth:`state_dict` returned.
        """
        self.rows = list(state["rows"])


def draw_curves(histories: Mapping[str, str | Path], picture: str | Path, metric: str) -> None:
    """Draws training loss and validation metric of one or more trainings side by side.

    Args:
        histories: label and ``history.csv`` of each training.
        picture: PNG file to write.
        metric: name of the metric for the axis.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is missing: pip install 'medmamba_monai[plots]'") from error
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for label, file in histories.items():
        with open(file, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        left.plot(
            [int(r["epoch"]) for r in rows if r["loss"]], [float(r["loss"]) for r in rows if r["loss"]], label=label
        )
        scored = [(int(r["epoch"]), float(r["metric"])) for r in rows if r["metric"]]
        right.plot([e for e, _ in scored], [m for _, m in scored], label=label)
    for axes, name in ((left, "training loss"), (right, metric)):
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    right.legend()
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=90)
