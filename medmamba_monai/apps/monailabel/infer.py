"""Inference of one bundle in the server, by MONAI Label's own bundle task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastapi import HTTPException
from monai.transforms.io.dictionary import SaveImaged
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.bundle import BundleInferTask

from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.checks import InputError, check_image
from medmamba_monai.collection.outputs import (
    LabelPictureSaverd,
    ObjectReportd,
    OverlaySaverd,
    VolumeReportd,
    volumes,
)
from medmamba_monai.collection.restoration import ImageSaverd, PanelSaverd

__all__ = ["BundleInfer"]

SAVERS = (SaveImaged, ImageSaverd, LabelPictureSaverd, ObjectReportd, OverlaySaverd, PanelSaverd, VolumeReportd)
Data = dict[str, Any]


class BundleInfer(BundleInferTask):
    """Runs a bundle on one image and gives a label map, probabilities of classes, or an image.

    The bundle's own postprocessing puts the result on the grid of the image; what it saves beside is left out.

    Args:
        bundle: the bundle.
        conf: configuration of the server.
    """

    def __init__(self, bundle: Bundle, conf: dict[str, str]) -> None:
        data = bundle.metadata["network_data_format"]
        self.spatial_dims = len(data["inputs"]["image"]["spatial_shape"])
        self.channels = _channels(bundle.image_channels, self.spatial_dims)
        self.kind = _kind(bundle)
        super().__init__(
            str(bundle.root), conf, type=self.kind, post_filter=SAVERS, add_post_restore=False, load_strict=True
        )
        self.result_names = bundle.classes if self.kind == InferType.SEGMENTATION else []
        # a training leaves its state beside the weights; it is no file of weights
        others = sorted(path.name for path in bundle.weights.parent.glob("*.pt"))
        self._config["model_filename"] = ["model.pt", *(n for n in others if n not in ("model.pt", "last.pt"))]

    def pre_transforms(self, data: Data | None = None) -> Sequence[Callable[[Data], Data]]:
        """Returns the bundle's preprocessing behind a check of the image."""
        return [self._check, *super().pre_transforms(data)]

    def post_transforms(self, data: Data | None = None) -> Sequence[Callable[[Data], Data]]:
        """Returns the bundle's postprocessing, and what the writer needs."""
        found = list(super().post_transforms(data))
        return found if self.kind == InferType.CLASSIFICATION else [*found, self._finish]

    def writer(self, data: Data, extension: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
        """Writes the result to a temporary file and returns its name with the numbers of the answer."""
        if self.kind == InferType.OTHERS:
            return _write_image(data["pred"], data), {}
        return super().writer(data, extension, dtype)  # type: ignore[no-any-return]

    def _check(self, data: Data) -> Data:
        if isinstance(data["image"], str):
            try:
                check_image(data["image"], self.spatial_dims, self.channels)
            except InputError as error:
                # the server answers with the sentence instead of 'Internal Server Error'
                raise HTTPException(400, str(error)) from None
        # MONAI's Spacingd takes every key that starts with 'image_' for metadata
        data["name_of_image"] = data.pop("image_path", "")
        return data

    def _finish(self, data: Data) -> Data:
        """Drops the axis of channels of a label map; chooses a format that keeps its numbers."""
        known = {2: (".png",), 3: (".nii.gz", ".nii", ".nrrd")}[self.spatial_dims]
        if not data.get("result_extension"):
            name = str(data.get("name_of_image", ""))
            data["result_extension"] = next((ending for ending in known if name.endswith(ending)), known[0])
        if self.kind == InferType.OTHERS:
            return data
        label = data["pred"]
        if self.spatial_dims == 3:
            data["result"] = {"volumes_ml": volumes(label, self.result_names)}
        data["pred"] = label[0].to(torch.uint8 if int(label.max()) < 256 else torch.int32)
        data["result_dtype"] = np.uint8 if int(label.max()) < 256 else np.uint16
        return data


def _kind(bundle: Bundle) -> InferType:
    """The kind of the answer: numbers of classes for each voxel, of the whole image, or an image."""
    output = bundle.metadata["network_data_format"]["outputs"]["pred"]
    if output.get("spatial_shape") == []:
        return InferType.CLASSIFICATION
    return InferType.SEGMENTATION if output.get("format") in ("segmentation", "labels") else InferType.OTHERS


def _channels(count: int, spatial_dims: int) -> tuple[int, ...]:
    """Counts of channels that are accepted: pictures in colour, grey or with transparency fit each other."""
    return (1, 2, 3, 4) if spatial_dims == 2 else (count,)


def _write_image(image: torch.Tensor, data: Data) -> str:
    """Saves an image (C, *S) as a picture or a NIfTI file."""
    import nibabel as nib
    from PIL import Image

    array = np.asarray(image.cpu() if hasattr(image, "cpu") else image, dtype=np.float32)
    with tempfile.NamedTemporaryFile(suffix=data["result_extension"], delete=False) as stream:
        name = stream.name
    if array.ndim == 3:
        picture = np.moveaxis(array, 0, -1).swapaxes(0, 1).squeeze()
        Image.fromarray(picture.round().clip(0, 255).astype(np.uint8)).save(name)
    else:
        affine = np.asarray(image.affine) if hasattr(image, "affine") else np.eye(4)
        nib.save(nib.Nifti1Image(np.moveaxis(array, 0, -1).squeeze(), affine), Path(name))
    return name
