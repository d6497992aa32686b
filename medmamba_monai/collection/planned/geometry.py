"""Resampling as nnU-Net does it, with splines, slice by slice where slices are thick; and its inverse."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import affine_to_spacing, to_affine_nd
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform
from monai.transforms.utils import scale_affine
from numpy.typing import NDArray

__all__ = ["PlannedSpacing", "PlannedSpacingd", "nonzero", "resample"]

Array = NDArray[Any]
ANISOTROPY = 3


def nonzero(image: Any) -> Any:
    """What belongs to the image and not to an empty border."""
    return image != 0


def resample(
    image: Array, shape: Sequence[int], spacings: Sequence[Sequence[float]], order: int, across: int = 0
) -> Array:
    """Resample every channel to a shape.

    Where the old or else the new voxels are more than three times longer along one axis than along another, the
    slices across that axis are resampled one by one, and then put together with the order ``across``.

    Args:
        image: channels and axes (C, *S).
        shape: new size of each axis.
        spacings: old and new spacing.
        order: order of the splines.
        across: order along the thick axis, 0 for the nearest slice.

    Shape:
        image (C, *S); returns (C, *shape).

    Example:
        >>> resample(np.ones((1, 4, 6)), [8, 3], [[1, 1], [0.5, 2]], order=3).shape
        (1, 8, 3)
    """
    if tuple(shape) == image.shape[1:]:
        return image
    thick = _thick_axis(spacings)
    if thick is None:
        return np.stack([_zoom(channel, shape, order) for channel in image])
    flat = [length for axis, length in enumerate(shape) if axis != thick]
    slices = np.moveaxis(image, thick + 1, 1)
    fine = np.stack([np.stack([_zoom(plane, flat, order) for plane in channel]) for channel in slices])
    joined = np.moveaxis(fine, 1, thick + 1)
    if joined.shape[thick + 1] == shape[thick]:
        return joined
    return np.stack([_zoom(channel, shape, across) for channel in joined])


def _thick_axis(spacings: Sequence[Sequence[float]]) -> int | None:
    for spacing in spacings:
        longest = max(spacing)
        if longest > ANISOTROPY * min(spacing):
            thick = [axis for axis, length in enumerate(spacing) if length == longest]
            return thick[0] if len(thick) == 1 else None
    return None


def _zoom(array: Array, shape: Sequence[int], order: int) -> Array:
    from scipy.ndimage import zoom

    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    found: Array = zoom(array, factors, order=order, mode="nearest", grid_mode=True)
    # splines overshoot at edges
    return np.clip(found, array.min(), array.max()) if order > 1 else found


class PlannedSpacing(InvertibleTransform):
    """Resample an image or a label map to a spacing; the inverse resamples linearly back.

    Args:
        spacing: new length of a voxel along each axis.
        order: order of the splines of an image; 1 for labels, where each class is resampled and the largest wins.
        across: order along a thick axis.
        label: whether this is a label map.
        inverse_order: order of the splines of the inverse.

    Example:
        >>> image = MetaTensor(torch.rand(1, 6, 8), affine=torch.eye(3))
        >>> step = PlannedSpacing([2.0, 0.5])
        >>> small = step(image)
        >>> small.shape, step.inverse(small).shape
        (torch.Size([1, 3, 16]), torch.Size([1, 6, 8]))
    """

    def __init__(
        self, spacing: Sequence[float], order: int = 3, across: int = 0, label: bool = False, inverse_order: int = 1
    ) -> None:
        self.spacing = [float(length) for length in spacing]
        self.order, self.across, self.label, self.inverse_order = order, across, label, inverse_order

    def __call__(self, image: MetaTensor) -> MetaTensor:
        dims = len(self.spacing)
        old = [float(length) for length in affine_to_spacing(image.affine, r=dims)]
        size = list(image.shape[1:])
        shape = [max(1, round(n * a / b)) for n, a, b in zip(size, old, self.spacing, strict=True)]
        spacings = [old, self.spacing]
        array = image.detach().cpu().numpy()
        found = self._labels(array, shape, spacings) if self.label else self._image(array, shape, spacings, self.order)
        out = _with_grid(image, found, shape)
        push: Any = self.push_transform
        push(out, orig_size=size, extra_info={"spacings": spacings})
        return out

    def _image(self, array: Array, shape: Sequence[int], spacings: list[list[float]], order: int) -> Array:
        return resample(array.astype(np.float32), shape, spacings, order, self.across).astype(np.float32)

    def _labels(self, array: Array, shape: Sequence[int], spacings: list[list[float]]) -> Array:
        values = np.unique(array)
        near = resample(array, shape, spacings, 0)
        # where two classes share a voxel alike, the nearest one wins
        each = [
            resample((array == v).astype(np.float64), shape, spacings, self.order, self.across) + 1e-6 * (near == v)
            for v in values
        ]
        found: Array = values[np.argmax(np.stack(each), 0)].astype(array.dtype)
        return found

    def inverse(self, image: MetaTensor) -> MetaTensor:
        """Resample back to the size before.

        Args:
            image: what was resampled, or a prediction on its grid.
        """
        done: Any = self.pop_transform(image)
        size = [int(n) for n in done["orig_size"]]
        old, new = ([float(n) for n in row] for row in done["extra_info"]["spacings"])
        found = self._image(image.detach().cpu().numpy(), size, [new, old], self.inverse_order)
        return _with_grid(image, found, size)


def _with_grid(image: MetaTensor, array: Array, shape: Sequence[int]) -> MetaTensor:
    """The array as a tensor with the metadata of the image and an affine for its own size."""
    dims = len(shape)
    change = scale_affine(list(image.shape[1:]), list(shape))
    affine = to_affine_nd(dims, image.affine.cpu().to(torch.float64)) @ torch.as_tensor(change, dtype=torch.float64)
    tensor: Any = torch.as_tensor(np.ascontiguousarray(array)).to(image.device)
    out: Any = MetaTensor(tensor)
    out.copy_meta_from(image)
    out.affine = torch.as_tensor(to_affine_nd(len(image.affine) - 1, affine))
    found: MetaTensor = out
    return found


class PlannedSpacingd(MapTransform, InvertibleTransform):
    """:class:`PlannedSpacing` for the images and labels of an item.

    Args:
        keys: keys of images and labels.
        spacing: new length of a voxel along each axis.
        order: order of the splines of images.
        label_order: order of the splines of labels.
        across: order along a thick axis.
        inverse_order: order of the splines of the inverse.
        labels: the keys that are label maps.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing: Sequence[float],
        order: int = 3,
        label_order: int = 1,
        across: int = 0,
        inverse_order: int = 1,
        labels: Sequence[str] = ("label",),
    ) -> None:
        super().__init__(keys)
        self.image = PlannedSpacing(spacing, order, across, False, inverse_order)
        self.label = PlannedSpacing(spacing, label_order, across, True, inverse_order)
        self.labels = tuple(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = (self.label if key in self.labels else self.image)(item[key])
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample back to the size before.

        Args:
            data: item whose keys were resampled.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = (self.label if key in self.labels else self.image).inverse(item[key])
        return item
