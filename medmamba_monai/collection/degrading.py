"""Transforms that make the input of a restoration network from a good image, and bring its output back."""

from __future__ import annotations

import math
import zlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.apps.reconstruction.transforms.array import RandomKspaceMask
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.networks.blocks.fft_utils_t import fftn_centered_t, ifftn_centered_t
from monai.transforms.transform import MapTransform, Randomizable
from monai.transforms.utils import scale_affine
from monai.utils.type_conversion import convert_to_dst_type
from torch import Tensor, nn

__all__ = [
    "KspaceCroppedd",
    "KspaceUndersampledd",
    "Magnituded",
    "OriginalIntensityd",
    "RandPairedCropd",
    "UnitIntensityd",
    "ZeroFilled",
    "resized_affine",
]

Data = Mapping[Hashable, Any]
CENTRE = 0.32  # share of the columns in the middle, times the acceleration: fastMRI's 8 % at 4 and 4 % at 8


class UnitIntensityd(MapTransform):
    """Divides an image by its largest number, which is kept, so that `OriginalIntensityd` can multiply by it again.

    Args:
        keys: key of the image (C, *S).
        unit_key: where the largest number is kept.
        channels: only so many channels, from the first on, are looked at and divided; all if None.

    Example:
        >>> UnitIntensityd("image")({"image": torch.tensor([[0.0, 50.0, 200.0]])})
        {'image': tensor([[0.0000, 0.2500, 1.0000]]), 'unit': 200.0}
    """

    def __init__(self, keys: KeysCollection, unit_key: str = "unit", channels: int | None = None) -> None:
        super().__init__(keys)
        self.unit_key, self.channels = unit_key, channels

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key].clone()
            unit = float(image[: self.channels].abs().max()) or 1.0
            image[: self.channels] /= unit
            item |= {key: image, self.unit_key: unit}
        return item


class OriginalIntensityd(MapTransform):
    """Multiplies images by the number that `UnitIntensityd` divided by.

    Args:
        keys: keys of images.
        unit_key: where the number was kept.

    Example:
        >>> OriginalIntensityd("pred")({"pred": torch.tensor([0.25, 1.0]), "unit": 200.0})["pred"]
        tensor([ 50., 200.])
    """

    def __init__(self, keys: KeysCollection, unit_key: str = "unit") -> None:
        super().__init__(keys)
        self.unit_key = unit_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = item[key] * float(item[self.unit_key])
        return item


class KspaceCroppedd(MapTransform):
    """Makes an image of lower resolution the way MR does: only the middle of k-space is kept, and the magnitude taken.

    The pixels of the small image lie in the middle of those they stand for, as those of `torch.nn.functional.
    interpolate` do, by a phase that shifts the image by a part of a pixel.

    Args:
        keys: key of the image (1, W, H).
        label_key: where the image itself is put.
        factor: how much smaller each side becomes.

    Raises:
        ValueError: when a side is not divisible.

    Example:
        >>> found = KspaceCroppedd("image")({"image": torch.ones(1, 8, 6)})
        >>> found["image"].shape, round(float(found["image"].mean()), 4), found["label"].shape
        (torch.Size([1, 4, 3]), 1.0, torch.Size([1, 8, 6]))
    """

    def __init__(self, keys: KeysCollection, label_key: str = "label", factor: int = 2) -> None:
        super().__init__(keys)
        self.label_key, self.factor = label_key, factor

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.label_key] = item[key]
            item[key] = self._crop(item[key])
        return item

    def _crop(self, image: Tensor) -> Tensor:
        plain = torch.as_tensor(image).float()
        kspace: Tensor = torch.fft.fftn(plain, dim=(-2, -1), norm="forward")
        for axis in (-2, -1):
            length = plain.shape[axis]
            if length % self.factor:
                raise ValueError(f"side {length} is not divisible by {self.factor}: pad the image first")
            small = length // self.factor
            waves = torch.fft.fftfreq(small, 1 / small)
            shift = torch.exp(1j * math.pi * (self.factor - 1) * waves / length)
            kept = kspace.index_select(axis, (waves.long() % length))
            kspace = kept * (shift[:, None] if axis == -2 else shift)
        small_image: Tensor = torch.fft.ifftn(kspace, dim=(-2, -1), norm="forward").abs()
        if not isinstance(image, MetaTensor):
            return small_image
        affine = resized_affine(image.affine, image.shape[1:], small_image.shape[1:])
        return MetaTensor(small_image, affine=affine, meta=dict(image.meta))


class ZeroFilled(nn.Module):
    """Enlarges images the way MR does: k-space is filled with zeros on all sides; undoes `KspaceCroppedd` but for them.

    Args:
        factor: how much larger each side becomes.

    Shape:
        x (B, C, W, H); returns (B, C, W * factor, H * factor).

    Example:
        >>> ZeroFilled()(torch.ones(1, 1, 3, 4)).shape
        torch.Size([1, 1, 6, 8])
    """

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        kspace: Tensor = torch.fft.fftn(x.float(), dim=(-2, -1), norm="forward")
        for axis in (-2, -1):
            length = self.factor * x.shape[axis]
            waves = torch.fft.fftfreq(x.shape[axis], 1 / x.shape[axis], device=x.device)
            shift = torch.exp(-1j * math.pi * (self.factor - 1) * waves / length)
            size = list(kspace.shape)
            size[axis] = length
            filled = kspace.new_zeros(size)
            kspace = filled.index_copy(axis, waves.long() % length, kspace * (shift[:, None] if axis == -2 else shift))
        filled_image: Tensor = torch.fft.ifftn(kspace, dim=(-2, -1), norm="forward").real
        return filled_image


def resized_affine(affine: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """The affine of a picture on the same place with another number of pixels.

    Args:
        affine: 4 x 4, of the picture before.
        before: its size.
        after: the new size.

    Example:
        >>> resized_affine(torch.eye(4), (4, 6), (8, 12)).diagonal().tolist()
        [0.5, 0.5, 1.0, 1.0]
    """
    scale = torch.eye(4, dtype=torch.float64)
    found = torch.as_tensor(scale_affine(tuple(before), tuple(after)))
    scale[:2, :2], scale[:2, 3] = found[:2, :2], found[:2, 2]
    return affine.double() @ scale.to(affine.device)


class KspaceUndersampledd(Randomizable, MapTransform):
    """Simulates an accelerated MR scan of one coil: k-space of a slice is measured in some columns only.

    The slice gets a smooth random phase, as real ones have, so that k-space is not symmetric. The mask is MONAI's
    `RandomKspaceMask`: the middle columns and random others. An item with ``acceleration`` is measured at that one.

    Args:
        keys: key of the magnitude image (1, W, H); becomes (3, W, H): real and imaginary part of the zero-filled
            image, and the mask, 1 where k-space was measured.
        label_key: where the fully sampled image is put, real and imaginary part (2, W, H).
        accelerations: one of them is drawn.
        fixed: draw phase and mask from the item's ``case``, the same ones each time.

    Example:
        >>> step = KspaceUndersampledd("image", accelerations=[4], fixed=True)
        >>> found = step({"image": torch.rand(1, 32, 40), "case": "a"})
        >>> found["image"].shape, found["label"].shape
        (torch.Size([3, 32, 40]), torch.Size([2, 32, 40]))
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        accelerations: Sequence[float] = (4, 8),
        fixed: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.label_key, self.accelerations, self.fixed = label_key, tuple(accelerations), fixed

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        # the bytes of the name: hash() differs from one process to the next
        source = np.random.RandomState(zlib.crc32(str(item.get("case", "")).encode())) if self.fixed else self.R
        for key in self.key_iterator(item):
            drawn = self.accelerations[source.randint(len(self.accelerations))]
            acceleration = float(item.get("acceleration", drawn))
            measured, whole = _measure(torch.as_tensor(item[key]).float(), acceleration, source)
            item[key], *_ = convert_to_dst_type(measured, item[key], dtype=torch.float32)
            item[self.label_key], *_ = convert_to_dst_type(whole, item[key], dtype=torch.float32)
        return item


def _measure(image: Tensor, acceleration: float, source: np.random.RandomState) -> tuple[Tensor, Tensor]:
    """The zero-filled image with its mask, and the fully sampled image."""
    phase = _phase(image.shape[1:], source)
    whole = torch.stack((image * phase.cos(), image * phase.sin()), -1)
    sampler = RandomKspaceMask([CENTRE / acceleration], [acceleration], spatial_dims=2, is_complex=True)
    sampler.set_random_state(state=source)
    kept, _ = sampler(fftn_centered_t(whole, 2))
    mask = torch.as_tensor(sampler.mask)[..., 0].expand(image.shape)
    zero_filled = ifftn_centered_t(torch.as_tensor(kept), 2)
    return torch.cat((zero_filled[0].movedim(-1, 0), mask)), whole[0].movedim(-1, 0)


def _phase(size: Sequence[int], source: np.random.RandomState) -> Tensor:
    """A random polynomial of the place, up to about a turn."""
    a, b, c, d = (float(number) for number in source.uniform(-math.pi / 2, math.pi / 2, 4))
    x, y = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    return a + b * x + c * y + d * x * y


class Magnituded(MapTransform):
    """Turns real and imaginary part into the magnitude.

    Args:
        keys: keys of images (2, *S), or (3, *S) with something else in the third channel.
        third_key: where the third channel of an image is put; None to drop it.

    Example:
        >>> found = Magnituded("pred", "uncertainty")({"pred": torch.tensor([3.0, 4.0, 0.5]).reshape(3, 1, 1)})
        >>> found["pred"].item(), found["uncertainty"].item()
        (5.0, 0.5)
    """

    def __init__(self, keys: KeysCollection, third_key: str | None = None) -> None:
        super().__init__(keys)
        self.third_key = third_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            if self.third_key is not None and image.shape[0] > 2:
                item[self.third_key] = image[2:3]
            item[key] = image[:2].square().sum(0, keepdim=True).sqrt()
        return item


class RandPairedCropd(Randomizable, MapTransform):
    """Cuts the same place out of images of which some have more pixels than others.

    Args:
        keys: keys of images (C, W, H); each has a whole number of pixels for one of the first.
        roi_size: size that is cut out of the first; all of an axis that is shorter.

    Example:
        >>> step = RandPairedCropd(["image", "label"], [4, 4])
        >>> found = step({"image": torch.rand(1, 8, 8), "label": torch.rand(1, 16, 16)})
        >>> found["image"].shape, found["label"].shape
        (torch.Size([1, 4, 4]), torch.Size([1, 8, 8]))
    """

    def __init__(self, keys: KeysCollection, roi_size: Sequence[int]) -> None:
        MapTransform.__init__(self, keys)
        self.roi_size = tuple(roi_size)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        item = dict(data)
        size = item[self.first_key(item)].shape[1:]
        cut = [min(n, roi) for n, roi in zip(size, self.roi_size, strict=True)]
        start = [int(self.R.randint(n - length + 1)) for n, length in zip(size, cut, strict=True)]
        for key in self.key_iterator(item):
            times = [n // small for n, small in zip(item[key].shape[1:], size, strict=True)]
            places = (slice(s * t, (s + n) * t) for s, n, t in zip(start, cut, times, strict=True))
            item[key] = item[key][(slice(None), *places)]
        return item
