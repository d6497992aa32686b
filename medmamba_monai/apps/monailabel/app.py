"""The app: one task for every bundle, active learning by chance or by order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from medmamba_monai.apps.monailabel.bundles import served_bundles
from medmamba_monai.apps.monailabel.infer import BundleInfer
from medmamba_monai.apps.monailabel.train import BundleTrain

__all__ = ["BundleApp"]

log = logging.getLogger(__name__)


class Batch(BatchInferTask):
    """Inference of many images; MONAI Label's own divides them among GPUs even where there is none, and fails."""

    def __call__(self, request: dict[str, Any], datastore: Datastore, infer: Callable[..., Any]) -> dict[str, Any]:
        """Runs a bundle on the images of a request and saves the label maps."""
        several = bool(request.get("multi_gpu", True)) and torch.cuda.device_count() > 1
        found: dict[str, Any] = super().__call__({**request, "multi_gpu": several}, datastore, infer)
        return found


class BundleApp(MONAILabelApp):
    """Serves the bundles in ``<app>/model``, which it copies from the collection when it starts.

    Args:
        app_dir: folder of the app.
        studies: folder of the images, or address of a DICOMweb server.
        conf: ``bundles``: folder of the bundles; ``models``: names of those to serve, with commas between.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.bundles = served_bundles(
            Path(app_dir) / "model", conf.get("bundles", ""), [n for n in conf.get("models", "").split(",") if n]
        )
        names = ", ".join(bundle.name for bundle in self.bundles)
        log.info("bundles: %s", names)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="medmamba_monai",
            description=f"Mamba networks for medical images: {names}. Research only.",
            version="2.0",
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Returns a task for each bundle."""
        return {bundle.name: BundleInfer(bundle, self.conf) for bundle in self.bundles}

    def init_trainers(self) -> dict[str, TrainTask]:
        """Returns a task for each bundle that segments and trains: the labels of the server are label maps."""
        tasks = {b.name: BundleTrain(str(b.root), self.conf) for b in self.bundles if b.name.endswith("segmentation")}
        return {name: task for name, task in tasks.items() if task.is_valid()}

    def init_strategies(self) -> dict[str, Strategy]:
        """Returns how the next image to label is chosen."""
        return {"random": Random(), "first": First()}

    def init_batch_infer(self) -> Callable[..., Any]:
        """Returns what runs a bundle on many images."""
        return Batch()
