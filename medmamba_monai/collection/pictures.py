"""Transforms that turn whatever a reader returns for a picture into one grey channel or three colours, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform

from medmamba_monai.collection.checks import InputError

__all__ = ["ColourPictured", "ColourReturnedd", "GreyPictured", "LuminancePictured"]

# of red, green and blue in the luminance, as ITU-R BT.601 weighs them
LUMINANCE = (0.299, 0.587, 0.114)


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


class LuminancePictured(_Pictured):
    """Makes pictures grey by their luminance, and keeps their colour, so that `ColourReturnedd` can give it back.

    Args:
        keys: keys of channel-first pictures.
        colour_key: where the difference of each colour to the luminance (3, W, H) is kept; None to drop it.

    Shape:
        (C, W, H) or (C, W, H, 1) with C of 1 to 4; returns (1, W, H).

    Raises:
        InputError: when the item is no picture.

    Example:
        >>> found = LuminancePictured("image", "colour")({"image": torch.tensor([200.0, 0, 0]).reshape(3, 1, 1)})
        >>> round(found["image"].item(), 1), found["colour"].shape
        (59.8, torch.Size([3, 1, 1]))
    """

    def __init__(self, keys: KeysCollection, colour_key: str | None = None) -> None:
        super().__init__(keys)
        self.colour_key = colour_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            channels = _channels(item[key])
            item[key] = self._turn(channels)
            if self.colour_key is not None:
                item[self.colour_key] = (channels - item[key]).expand(3, -1, -1)
        return item

    def _turn(self, channels: torch.Tensor) -> torch.Tensor:
        if channels.shape[0] == 1:
            return channels
        weights = channels.new_tensor(LUMINANCE).reshape(3, 1, 1)
        return (channels * weights).sum(0, keepdim=True)


class ColourReturnedd(MapTransform):
    """Gives a grey picture the colour that `LuminancePictured` kept; where that had none, the picture stays grey.

    Args:
        keys: keys of pictures (1, W, H) in the intensities of the coloured one.
        colour_key: where the colour was kept.

    Example:
        >>> colour = torch.tensor([140.2, -59.8, -59.8]).reshape(3, 1, 1)
        >>> ColourReturnedd("pred", "colour")({"pred": torch.full((1, 1, 1), 59.8), "colour": colour})["pred"].flatten()
        tensor([200.,   0.,   0.])
    """

    def __init__(self, keys: KeysCollection, colour_key: str = "colour") -> None:
        super().__init__(keys)
        self.colour_key = colour_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            if bool(item[self.colour_key].any()):
                item[key] = (item[key] + item[self.colour_key].to(item[key].device)).clamp(0, 255)
        return item
