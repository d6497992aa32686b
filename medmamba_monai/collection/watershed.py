"""From outlined objects to classes that a network can learn, and back: interior, boundary, watershed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform
from monai.utils.misc import ensure_tuple
from numpy.typing import NDArray
from torch import Tensor

from medmamba_monai.collection.checks import InputError

__all__ = [
    "InstanceBoundaryd",
    "NumberedPiecesd",
    "WatershedInstancesd",
    "interior_and_boundary",
    "watershed_instances",
]


class InstanceBoundaryd(MapTransform):
    """Turns an instance map into the classes 0 background, 1 interior and 2 boundary.

    Args:
        keys: keys of instance maps (1, W, H).
        names: keys of the results; default the same keys.

    Raises:
        InputError: when the item is no instance map.
    """

    def __init__(self, keys: KeysCollection, names: KeysCollection | None = None) -> None:
        super().__init__(keys)
        self.names = self.keys if names is None else ensure_tuple(names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key, name in self.key_iterator(item, self.names):
            item[name] = interior_and_boundary(item[key])
        return item


def interior_and_boundary(instances: Tensor) -> Tensor:
    """Classes of an instance map: 0 background, 1 interior, 2 boundary.

    A pixel of an object is boundary when one of its eight neighbours belongs to something else, so two objects that
    touch are parted by the boundary of both. The edge of the picture is no boundary.

    Args:
        instances: (1, W, H), whole numbers, 0 for background.

    Raises:
        InputError: when the shape is another.

    Example:
        >>> row = torch.tensor([[[1, 1, 1, 2, 2, 2, 0]]])
        >>> interior_and_boundary(row.repeat(1, 3, 1))[0, 1].int().tolist()
        [1, 1, 2, 2, 1, 2, 0]
    """
    if instances.ndim != 3 or instances.shape[0] != 1:
        raise InputError(f"the label has shape {tuple(instances.shape)}: give one instance map (1, W, H)")
    # whole numbers up to 2 ** 24 are exact in float32
    plain = torch.as_tensor(instances.as_tensor() if isinstance(instances, MetaTensor) else instances).float()[None]
    highest = F.max_pool2d(plain, 3, 1, 1)
    lowest = -F.max_pool2d(-plain, 3, 1, 1)
    classes = ((plain > 0) * (1 + (highest != lowest).float()))[0]
    return MetaTensor(classes, meta=instances.meta) if isinstance(instances, MetaTensor) else classes


class NumberedPiecesd(MapTransform):
    """Turns masks with one number for all objects into instance maps: pieces that do not touch are numbered.

    A map that holds more than one number stays as it is.

    Args:
        keys: keys of masks or instance maps (1, W, H), 0 for background.
        min_size: pieces of fewer pixels, crumbs of the drawing, are dropped.

    Example:
        >>> NumberedPiecesd("label")({"label": torch.tensor([[[255, 255, 0, 255]]])})["label"].tolist()
        [[[1.0, 1.0, 0.0, 2.0]]]
    """

    def __init__(self, keys: KeysCollection, min_size: int = 1) -> None:
        super().__init__(keys)
        self.min_size = min_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        from scipy import ndimage

        item = dict(data)
        for key in self.key_iterator(item):
            label = item[key]
            plain = np.asarray(label.detach().cpu())[0]
            if np.unique(plain[plain > 0]).size == 1:
                pieces = ndimage.label(plain > 0)[0].astype(np.int32)
                found = torch.from_numpy(_numbered(pieces, self.min_size))[None].float()
                item[key] = MetaTensor(found, meta=label.meta) if isinstance(label, MetaTensor) else found
        return item


class WatershedInstancesd(MapTransform):
    """Turns the probabilities of background, interior and boundary into an instance map.

    Args:
        keys: keys of probabilities (3, W, H).
        seed: least probability of a seed pixel's interior.
        mask: least probability of an object's pixel not to be background.
        min_size: objects of fewer pixels are dropped.

    Shape:
        (3, W, H); gives (1, W, H), float32 with the numbers 0, 1, 2, ...
    """

    def __init__(self, keys: KeysCollection, seed: float = 0.5, mask: float = 0.5, min_size: int = 8) -> None:
        super().__init__(keys)
        self.seed, self.mask, self.min_size = seed, mask, min_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            chances = item[key]
            plain = np.asarray(chances.detach().cpu())
            found = torch.from_numpy(watershed_instances(plain, self.seed, self.mask, self.min_size))[None].float()
            item[key] = MetaTensor(found, meta=chances.meta) if isinstance(chances, MetaTensor) else found
        return item


def watershed_instances(
    chances: NDArray[Any], seed: float = 0.5, mask: float = 0.5, min_size: int = 8
) -> NDArray[np.int32]:
    """Objects by a watershed: seeds are pieces of interior, which grow over the boundary until they meet.

    Pieces of the mask without a seed, which is the fate of very small objects, are objects of their own.

    Args:
        chances: probabilities (3, W, H) of background, interior and boundary.
        seed: least probability of a seed pixel's interior.
        mask: least probability of an object's pixel not to be background.
        min_size: objects of fewer pixels are dropped.

    Returns:
        Instance map (W, H) with the numbers 0, 1, 2, ...

    Example:
        >>> interior = np.array([[1, 1, 0, 0, 1, 1, 0, 0]] * 3, dtype=float)
        >>> boundary = np.array([[0, 0, 1, 1, 0, 0, 0, 0]] * 3, dtype=float)
        >>> chances = np.stack([1 - interior - boundary, interior, boundary])
        >>> watershed_instances(chances, min_size=1)[1].tolist()
        [1, 1, 1, 2, 2, 2, 0, 0]
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    inside = chances[0] <= 1 - mask
    seeds, count = ndimage.label((chances[1] >= seed) & inside)
    pieces, number = ndimage.label(inside)
    seeded = np.zeros(number + 1, dtype=bool)
    seeded[np.unique(pieces[seeds > 0])] = True
    lonely = inside & ~seeded[pieces]
    markers = np.where(seeds > 0, seeds, np.where(lonely, pieces + count, 0)).astype(np.int32)
    return _numbered(watershed(chances[2], markers, mask=inside), min_size)


def _numbered(objects: NDArray[np.int32], min_size: int) -> NDArray[np.int32]:
    """Drops small objects and numbers the others from 1 without gaps."""
    _, place, sizes = np.unique(np.maximum(objects, 0), return_inverse=True, return_counts=True)
    present = sizes >= min_size
    if (objects <= 0).any():
        present[0] = False
    numbers = np.where(present, np.cumsum(present), 0)
    found: NDArray[np.int32] = numbers[place].reshape(objects.shape).astype(np.int32)
    return found
