"""What converted bundles do to arrays as nnU-Net does: its order of axes, and z-scores inside the body."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform

__all__ = ["AxesOrder", "AxesOrderd", "MaskedZscored"]


class AxesOrder(InvertibleTransform):
    """Put the axes of an image in another order; the affine follows.

    Args:
        order: for each new axis the old one.

    Example:
        >>> turn = AxesOrder([2, 0, 1])
        >>> image = turn(MetaTensor(torch.zeros(1, 3, 4, 5)))
        >>> image.shape, turn.inverse(image).shape
        (torch.Size([1, 5, 3, 4]), torch.Size([1, 3, 4, 5]))
    """

    def __init__(self, order: Sequence[int]) -> None:
        self.order = list(order)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        out = _reordered(image, self.order)
        push: Any = self.push_transform
        push(out)
        return out

    def inverse(self, image: MetaTensor) -> MetaTensor:
        """Put the axes back.

        Args:
            image: what was reordered, or a prediction on its grid.
        """
        self.pop_transform(image)
        return _reordered(image, [self.order.index(axis) for axis in range(len(self.order))])


def _reordered(image: MetaTensor, order: Sequence[int]) -> MetaTensor:
    dims = len(order)
    affine = np.asarray(to_affine_nd(dims, image.affine.cpu().numpy()))
    changed = affine[:, [*order, dims]]
    tensor: Any = image.as_tensor().permute(0, *(axis + 1 for axis in order)).contiguous()
    out: Any = MetaTensor(tensor)
    out.copy_meta_from(image)
    out.affine = torch.as_tensor(to_affine_nd(len(image.affine) - 1, changed))
    found: MetaTensor = out
    return found


class AxesOrderd(MapTransform, InvertibleTransform):
    """:class:`AxesOrder` for the images and labels of an item.

    Args:
        keys: keys of images and labels.
        order: for each new axis the old one.
    """

    def __init__(self, keys: KeysCollection, order: Sequence[int]) -> None:
        super().__init__(keys)
        self.turn = AxesOrder(order)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.turn(item[key])
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the axes back.

        Args:
            data: item whose keys were reordered.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.turn.inverse(item[key])
        return item


class MaskedZscored(MapTransform):
    """Z-score each channel inside the body: where any channel is not zero, holes filled. The rest stays zero.

    Args:
        keys: keys of images (C, *S).
        channels: the channels that are treated; all by default.

    Example:
        >>> image = torch.tensor([[0.0, 1.0, 3.0, 0.0]])
        >>> MaskedZscored("image")({"image": image})["image"].tolist()
        [[0.0, -1.0, 1.0, 0.0]]
    """

    def __init__(self, keys: KeysCollection, channels: Sequence[int] | None = None) -> None:
        super().__init__(keys)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        from scipy.ndimage import binary_fill_holes

        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key].float().clone()
            inside = torch.as_tensor(binary_fill_holes((image != 0).any(0).cpu().numpy()), device=image.device)
            for channel in range(image.shape[0]) if self.channels is None else self.channels:
                values = image[channel][inside]
                image[channel][inside] = (values - values.mean()) / values.std(correction=0).clamp(min=1e-8)
            item[key] = image
        return item
