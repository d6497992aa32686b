"""Transforms of head-and-neck CT: one scale of numbers, and mirror images with the sides' labels exchanged."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform, RandomizableTransform

__all__ = ["HounsfieldUnitsd", "RandMirrorSidesd"]


class HounsfieldUnitsd(MapTransform):
    """Turns CT stored as bytes into Hounsfield units; a CT in Hounsfield units stays as it is.

    The compact form holds (HU + 400) / 4 in 0 to 255. Air tells the two apart: in Hounsfield units it is far below 0.

    Args:
        keys: keys of CT volumes.

    Example:
        >>> HounsfieldUnitsd("image")({"image": torch.tensor([0.0, 100.0])})["image"].tolist()
        [-400.0, 0.0]
        >>> HounsfieldUnitsd("image")({"image": torch.tensor([-1000.0, 60.0])})["image"].tolist()
        [-1000.0, 60.0]
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            stored = item[key]
            item[key] = stored if float(stored.min()) < 0 or float(stored.max()) > 255 else 4 * stored - 400
        return item


class RandMirrorSidesd(RandomizableTransform, MapTransform):
    """Mirrors an item left to right with its label, and exchanges the numbers of the paired organs.

    Args:
        keys: keys of channel-first volumes, the label among them.
        label: key of the label.
        pairs: numbers that change places, as (right, left).
        prob: probability.
        spatial_axis: the axis from side to side, 0 in RAS.

    Example:
        >>> mirror = RandMirrorSidesd(["image", "label"], "label", [(3, 4)], prob=1.0)
        >>> found = mirror({"image": torch.tensor([[1.0, 2.0]]), "label": torch.tensor([[3, 0]])})
        >>> found["image"].tolist(), found["label"].tolist()
        ([[2.0, 1.0]], [[0, 4]])
    """

    def __init__(
        self,
        keys: KeysCollection,
        label: str,
        pairs: Sequence[Sequence[int]],
        prob: float = 0.5,
        spatial_axis: int = 0,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.label, self.pairs, self.axis = label, [tuple(pair) for pair in pairs], spatial_axis + 1

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        for key in self.key_iterator(item):
            item[key] = torch.flip(item[key], [self.axis])
        before = item[self.label]
        after = before.clone()
        for first, second in self.pairs:
            after[before == first] = second
            after[before == second] = first
        item[self.label] = after
        return item
