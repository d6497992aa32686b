"""Checkpoints that survive a kill: atomic saving, resuming, and loading weights with clear errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import DiskSaver
from monai.handlers.checkpoint_saver import CheckpointSaver
from torch import nn

from medmamba_monai import weights
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.savers import replacing

__all__ = ["AtomicCheckpointSaver", "TrainingState", "load_weights"]


def load_weights(path: str | Path, networks: Iterable[nn.Module]) -> None:
    """Loads one file of weights into every given network; the authors' own checkpoints are taken too.

    Args:
        path: see :func:`medmamba_monai.weights.load`.
        networks: networks of one architecture, wrapped by DistributedDataParallel or not.

    Raises:
        InputError: when the file is missing, damaged or belongs to another network.
    """
    for network in networks:
        try:
            weights.load(path, network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network)
        except weights.WeightsError as error:
            raise InputError(str(error)) from error


class _WholeFile(DiskSaver):
    """Writes beside the target and renames; an older file of the same name stays until then."""

    def __init__(self, folder: str, filename: str | None) -> None:
        super().__init__(folder, require_empty=False)
        self.filename = filename

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        with replacing(Path(self.dirname) / (self.filename or filename)) as temporary:
            torch.save(checkpoint, temporary)

    def remove(self, filename: str) -> None:
        if self.filename is None:
            super().remove(filename)


class AtomicCheckpointSaver(CheckpointSaver):
    """MONAI's CheckpointSaver for the best weights, except that a kill while saving leaves the former file whole.

    Args:
        save_dir: folder to write to.
        save_dict: one named network gives a plain state dict.
        key_metric_filename: fixed name of the file.
    """

    def __init__(self, save_dir: str, save_dict: dict[str, Any], key_metric_filename: str = "model.pt") -> None:
        super().__init__(save_dir, save_dict, save_key_metric=True, key_metric_filename=key_metric_filename)
        best: Any = self._key_metric_checkpoint
        self._best = best
        self._best.save_handler = _WholeFile(save_dir, key_metric_filename)

    def expect(self, score: float) -> None:
        """Sets the key metric that the next checkpoint has to beat.

        Args:
            score: key metric of the file on disk.
        """
        self._best.load_state_dict({"_saved": [(score, "former")]})


class TrainingState:
    """Saves everything a training needs to go on after a kill, once an epoch, in one atomic file.

    Put it last among the handlers of the trainer, so that it sees the validation of the same epoch. Augmentation
    draws new random numbers after a resume.

    Args:
        path: file to write.
        objects: named objects with ``state_dict`` and ``load_state_dict``: network, optimizer, scheduler, average.
        evaluator: validation engine, its best metric and epoch are kept.
        saver: saver of the best weights, told the best metric on resume.
    """

    def __init__(
        self,
        path: str | Path,
        objects: Mapping[str, Any],
        evaluator: Engine,
        saver: AtomicCheckpointSaver | None = None,
    ) -> None:
        self.path = Path(path)
        self.objects = dict(objects)
        self.evaluator = evaluator
        self.saver = saver

    def attach(self, engine: Engine) -> None:
        """Saves at the end of every epoch.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        """Writes the state now.

        Args:
            engine: the trainer.

        Raises:
            InputError: when the file cannot be written; the former one is kept.
        """
        state: dict[str, Any] = {name: thing.state_dict() for name, thing in self.objects.items()}
        state["epoch"] = engine.state.epoch
        validation: Any = self.evaluator.state
        state["best_metric"] = float(validation.best_metric)
        state["best_metric_epoch"] = validation.best_metric_epoch
        with replacing(self.path) as temporary:
            torch.save(state, temporary)

    def restore(self, trainer: Engine) -> int:
        """Puts the saved state back and returns its epoch.

        Args:
            trainer: the trainer that shall go on.

        Raises:
            FileNotFoundError: when nothing was saved.
            ValueError: when the file is damaged or was saved by another configuration.
        """
        try:
            state = weights.read(self.path)
        except weights.WeightsError as error:
            raise InputError(str(error)) from error
        lost = [name for name in (*self.objects, "epoch", "best_metric") if name not in state]
        if lost:
            raise InputError(
                f"{str(self.path)!r} holds no {lost[0]!r}: it was saved by another configuration, remove it"
            )
        for name, thing in self.objects.items():
            thing.load_state_dict(state[name])
        trainer.state.epoch = state["epoch"]
        trainer.state.iteration = state["epoch"] * trainer.state.epoch_length
        validation: Any = self.evaluator.state
        validation.best_metric, validation.best_metric_epoch = state["best_metric"], state["best_metric_epoch"]
        if self.saver is not None and state["best_metric_epoch"] > 0:
            self.saver.expect(state["best_metric"])
        return int(state["epoch"])
