"""Transforms that turn whatever a reader returns for a picture into one grey channel or three colours."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform

from medmamba_monai.collection.checks import InputError

__all__ = ["ColourPictured", "GreyPictured"]


class _Pictured(MapTransform):
    """Applies :meth:`_turn` to the channels of pictures."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self._turn(_channels(item[key]))
        return item

    def _turn(self, channels: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def _channels(picture: Any) -> torch.Tensor:
    """One grey or three colour channels as (C, W, H), without opacity; the tensor keeps its metadata."""
    tensor: torch.Tensor = picture if isinstance(picture, torch.Tensor) else torch.as_tensor(picture)
    if tensor.ndim == 4 and tensor.shape[-1] == 1:
        tensor = tensor[..., 0]
    if tensor.ndim != 3 or tensor.shape[0] > 4:
        raise InputError(f"the image has shape {tuple(tensor.shape)}: give one grey or colour picture")
    return tensor[: 3 if tensor.shape[0] >= 3 else 1].float()


class GreyPictured(_Pictured):
    """Makes pictures grey: colours are averaged, an opacity channel and a third axis of length 1 are dropped.

    Args:
        keys: keys of channel-first pictures.
        allow_missing_keys: skip keys that an item lacks.

    Shape:
        (C, W, H) or (C, W, H, 1) with C of 1 to 4; returns (1, W, H).

    Raises:
        InputError: when the item is no picture.

    Example:
        >>> GreyPictured("image")({"image": torch.ones(3, 4, 5)})["image"].shape
        torch.Size([1, 4, 5])
    """

    def _turn(self, channels: torch.Tensor) -> torch.Tensor:
        return channels.mean(0, keepdim=True)


class ColourPictured(_Pictured):
    """Gives pictures three channels: grey ones thrice, an opacity channel and a third axis of length 1 are dropped.

    Args:
        keys: keys of channel-first pictures.
        allow_missing_keys: skip keys that an item lacks.

    Shape:
        (C, W, H) or (C, W, H, 1) with C of 1 to 4; returns (3, W, H).

    Raises:
        InputError: when the item is no picture.

    Example:
        >>> ColourPictured("image")({"image": torch.ones(1, 4, 5)})["image"].shape
        torch.Size([3, 4, 5])
    """

    def _turn(self, channels: torch.Tensor) -> torch.Tensor:
        return channels if channels.shape[0] == 3 else channels.repeat(3, 1, 1)
