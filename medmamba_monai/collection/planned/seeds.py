"""The random numbers of a training follow from seed and epoch, so that a resumed one draws those of an unbroken one."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd

__all__ = ["EpochSeeds"]


class EpochSeeds:
    """Seeds Python, numpy, torch and the random transforms of a data set at the start of every epoch.

    Args:
        seed: seed of the training.
        dataset: data set whose transforms draw.
    """

    def __init__(self, seed: int, dataset: Any) -> None:
        self.seed, self.dataset = seed, dataset

    def attach(self, engine: Engine) -> None:
        """Listens to the trainer.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)

    def _begin(self, engine: Engine) -> None:
        number = int(np.random.SeedSequence([self.seed, engine.state.epoch]).generate_state(1)[0])
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        set_rnd(self.dataset, seed=number)
