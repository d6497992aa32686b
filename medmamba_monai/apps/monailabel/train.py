"""Training of one bundle on the labels of the server, by MONAI Label's own bundle task."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.bundle import BundleTrainTask

__all__ = ["BundleTrain"]


class BundleTrain(BundleTrainTask):
    """Trains a bundle's copy; the best weights of the run become its ``models/model.pt``.

    Args:
        path: folder of the bundle.
        conf: configuration of the server.
    """

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        super().__init__(path, conf, load_strict=True)
        self.pretrained = True

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Trains; a fault that the bundle finds in its input becomes an answer and does not end the server.

        Args:
            request: model, device, epochs and the like.
            datastore: the images and labels of the server.
        """
        if not datastore.datalist():
            raise HTTPException(400, "no image has a label yet: save at least one with the tag final")
        try:
            found: dict[str, Any] = super().__call__(request, datastore)
        except SystemExit as error:
            raise HTTPException(400, str(error)) from None
        return found

    def config(self) -> dict[str, Any]:
        """Returns the options that clients show."""
        found: dict[str, Any] = super().config()
        return {**found, "model_filename": ["model.pt"], "multi_gpu": False}

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[Any]) -> None:
        # the bundle loads its weights itself, and refers to its handlers by number
        self.pretrained = pretrained

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        overrides["load_pretrain"] = self.pretrained
        # the schedule of the learning rate is as long as the training, and weights are saved after a validation
        overrides["epochs"] = overrides["train#trainer#max_epochs"]
        overrides["val_interval"] = 1
        overrides.pop("train#handlers", None)
        if not overrides.get("validate#dataset#data"):
            overrides["validate#dataset#data"] = overrides["train#dataset#data"]  # too few labels to split
        return overrides
