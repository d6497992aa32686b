"""The low-resolution cascade: what the first stage finds in an image becomes channels of the second stage."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose, Invertd, LoadImage, MapTransform, Randomizable
from numpy.typing import NDArray
from torch import Tensor, nn

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.planned.inference import mean_of_files

__all__ = ["JoinedStaged", "PreviousStaged", "RandRoughStaged"]

PREVIOUS = "previous"
CHANGED = 0.4  # of the patches
LARGEST_BALL = 8  # voxels
LEFT_OUT = 0.2  # of the patches
LARGEST_PART = 0.15  # of a patch; what covers more is never left out
Array = NDArray[Any]
Data = Mapping[Hashable, Any]


class PreviousStaged(MapTransform):
    """Give an item the label map that the low-resolution stage finds in its image, on the grid of the image's file.

    Training reads it from a file, which a network wrote that had not seen the case: an item that holds a file name
    under ``previous`` is not segmented again.

    Args:
        keys: key of the image (C, *S), as it was read.
        transform: preprocessing of the low-resolution stage.
        inferer: its sliding window.
        network: its network.
        weights: the file of its weights, or several files of which the mean is taken.
        device: where it runs.
    """

    def __init__(
        self,
        keys: KeysCollection,
        transform: Compose,
        inferer: Callable[..., Tensor],
        network: nn.Module,
        weights: str | Path | Sequence[str | Path],
        device: torch.device | str,
    ) -> None:
        super().__init__(keys)
        self.transform, self.inferer, self.device = transform, inferer, device
        self.back = Invertd("pred", transform, orig_keys="image", nearest_interp=False, to_tensor=True)
        self.network, self.weights = network, weights
        self.ready: nn.Module | None = None

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            label = self._read(item[PREVIOUS], item[key]) if PREVIOUS in item else self._found(item[key])
            found: Any = MetaTensor(label)
            item[PREVIOUS] = found.copy_meta_from(item[key])
        return item

    def _read(self, file: str, image: MetaTensor) -> Tensor:
        label: Any = LoadImage(ensure_channel_first=True, dtype=np.uint8)(file)
        if label.shape[1:] != image.shape[1:]:
            raise InputError(
                f"{file} has shape {tuple(label.shape[1:])}, its image {tuple(image.shape[1:])}: the image was changed "
                "after the low-resolution stage read it, train anew"
            )
        return torch.as_tensor(label.as_tensor())

    def _found(self, image: MetaTensor) -> Tensor:
        if self.ready is None:
            files = [self.weights] if isinstance(self.weights, (str, Path)) else self.weights
            self.ready = mean_of_files(self.network, files).to(self.device).eval()
        copied: Any = image
        item: Any = self.transform({"image": copied.clone()})
        with torch.no_grad():
            item["pred"] = self.inferer(item["image"][None].to(self.device), self.ready)[0].float()
        return torch.as_tensor(self.back(item)["pred"]).argmax(0, keepdim=True).to("cpu", torch.uint8)


class JoinedStaged(MapTransform):
    """Append the label map of the low-resolution stage to the image, a channel of zeros and ones for each class.

    Args:
        keys: key of the image (C, *S).
        num_classes: classes with the background, which gets no channel.

    Example:
        >>> item = {"image": torch.zeros(1, 3), "previous": torch.tensor([[0, 2, 1]])}
        >>> JoinedStaged("image", 3)(item)["image"].tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """

    def __init__(self, keys: KeysCollection, num_classes: int) -> None:
        super().__init__(keys)
        self.classes = range(1, num_classes)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        label = torch.as_tensor(item.pop(PREVIOUS))[0]
        for key in self.key_iterator(item):
            image = item[key]
            item[key] = torch.cat([image, *((label == number)[None].to(image) for number in self.classes)])
        return item


class RandRoughStaged(MapTransform, Randomizable):
    """Spoil the label map of the low-resolution stage, so that the second stage does not copy it, as nnU-Net does.

    The regions of all classes are dilated, eroded, opened or closed by a ball; one part of each class is left out.

    Args:
        keys: key of the label map (1, *S).
        num_classes: classes with the background.
    """

    def __init__(self, keys: KeysCollection, num_classes: int) -> None:
        super().__init__(keys)
        self.classes = range(1, num_classes)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            label = np.array(torch.as_tensor(item[key])[0])
            if self.R.random() < CHANGED:
                for number in self.R.permutation(self.classes):
                    self._change(label, int(number))
            if self.R.random() < LEFT_OUT:
                for number in self.classes:
                    self._leave_out(label, number)
            item[key] = torch.as_tensor(label)[None]
        return item

    def _change(self, label: Array, number: int) -> None:
        region, radius = label == number, int(self.R.randint(1, LARGEST_BALL + 1))
        grow_first, once = self.R.randint(2, size=2)
        first, second = (_grown, _shrunk) if grow_first else (_shrunk, _grown)
        changed = first(region, radius) if once else second(first(region, radius), radius)
        label[region & ~changed] = 0
        label[changed] = number

    def _leave_out(self, label: Array, number: int) -> None:
        from scipy.ndimage import label as parts_of

        parts, count = parts_of(label == number)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        small = np.flatnonzero(sizes < LARGEST_PART * label.size)
        if len(small):
            label[parts == 1 + self.R.choice(small)] = 0


def _grown(region: Array, radius: int) -> Array:
    """Dilated by a ball; by distances, since a ball of 8 voxels has two thousand."""
    from scipy.ndimage import distance_transform_edt

    found: Array = distance_transform_edt(~region) <= radius if region.any() else region
    return found


def _shrunk(region: Array, radius: int) -> Array:
    return ~_grown(~region, radius)
