"""Simulated MR scans: what is kept of k-space, where the pixels lie, and the way back to the input's intensities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.networks.blocks.fft_utils_t import fftn_centered_t

from medmamba_monai.collection.degrading import (
    KspaceCroppedd,
    KspaceUndersampledd,
    Magnituded,
    OriginalIntensityd,
    RandPairedCropd,
    UnitIntensityd,
    ZeroFilled,
    resized_affine,
)


def wave(places: torch.Tensor, length: int, cycles: int) -> torch.Tensor:
    return 2 + torch.cos(2 * math.pi * cycles * places / length + 0.3)


def test_slow_waves_are_kept_and_fast_ones_lost() -> None:
    x = torch.arange(16.0)[:, None].expand(16, 12)
    slow, fast = wave(x, 16, 3)[None], wave(x, 16, 6)[None]
    small = KspaceCroppedd("image")({"image": slow + fast})
    # the middles of the large pixels, in small ones: 0.5, 2.5, ...
    middles = (torch.arange(8.0) * 2 + 0.5)[:, None].expand(8, 6)
    assert torch.allclose(small["image"][0], wave(middles, 16, 3) + 2, atol=1e-5)
    assert torch.equal(small["label"], slow + fast)


def test_filling_with_zeros_gives_back_what_the_crop_kept() -> None:
    x, y = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
    image = (wave(x, 16, 3) + wave(y, 12, 2))[None]
    small = KspaceCroppedd("image")({"image": image})["image"]
    assert torch.allclose(ZeroFilled(2)(small[None])[0], image, atol=1e-5)


def test_small_and_large_pixels_lie_on_one_place() -> None:
    affine = torch.tensor([[0.0, 2, 0, 10], [1, 0, 0, -5], [0, 0, 3, 0], [0, 0, 0, 1]], dtype=torch.float64)
    small = KspaceCroppedd("image")({"image": MetaTensor(torch.rand(1, 8, 6), affine=affine)})["image"]
    corner = torch.tensor([0.5, 0.5, 0, 1], dtype=torch.float64)  # the middle of the first four small pixels
    assert torch.allclose(small.affine[:, 3].double(), affine @ corner)
    assert torch.allclose(resized_affine(small.affine, (4, 3), (8, 6)), affine)


def test_a_side_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="side 7 is not divisible by 2"):
        KspaceCroppedd("image")({"image": torch.rand(1, 8, 7)})


def test_measured_columns_are_those_of_the_slice_and_the_rest_is_zero() -> None:
    slice_ = torch.rand(1, 24, 64)
    found = KspaceUndersampledd("image", accelerations=[4], fixed=True)({"image": slice_, "case": "a"})
    mask = found["image"][2] > 0
    kspace, whole = (fftn_centered_t(found[key][:2].movedim(0, -1), 2) for key in ("image", "label"))
    assert torch.allclose(kspace[mask], whole[mask], atol=1e-5) and kspace[~mask].abs().max() < 1e-5
    assert torch.equal(mask, mask[:1].expand_as(mask)) and 5 <= int(mask[0].sum()) <= 30
    assert mask[0, 30:34].all()  # 8 % of 64 columns in the middle
    assert torch.allclose(found["label"].square().sum(0).sqrt(), slice_[0], atol=1e-5)
    # the phase is smooth but not constant, so that k-space has no symmetry to fill in
    assert found["label"][1].abs().max() > 0.05


def test_fixed_scans_depend_on_the_case_alone_and_others_are_drawn() -> None:
    item = {"image": torch.rand(1, 16, 64), "case": "a"}
    fixed = KspaceUndersampledd("image", fixed=True)
    assert torch.equal(fixed(item)["image"], KspaceUndersampledd("image", fixed=True)(item)["image"])
    assert not torch.equal(fixed(item)["image"], fixed(item | {"case": "b"})["image"])
    drawn = KspaceUndersampledd("image").set_random_state(0)
    assert not torch.equal(drawn(item)["image"], drawn(item)["image"])
    shares = [
        np.mean([fixed(item | {"case": str(i), "acceleration": a})["image"][2].mean() for i in range(40)])
        for a in (4.0, 8.0)
    ]
    assert shares == pytest.approx([1 / 4, 1 / 8], rel=0.1)


def test_intensities_come_back() -> None:
    item = UnitIntensityd("image", channels=2)({"image": torch.tensor([4.0, -8.0, 1.0]).reshape(3, 1, 1)})
    assert item["image"].flatten().tolist() == [0.5, -1.0, 1.0] and item["unit"] == 8
    assert OriginalIntensityd("pred")({**item, "pred": item["image"]})["pred"].flatten().tolist() == [4.0, -8.0, 8.0]
    assert UnitIntensityd("image")({"image": torch.zeros(1, 2)})["unit"] == 1


def test_a_third_channel_is_kept_or_dropped() -> None:
    item = {"image": torch.tensor([3.0, 4.0, 7.0]).reshape(3, 1, 1)}
    assert Magnituded("image", "other")(item)["other"].item() == 7
    assert set(Magnituded("image")(item)) == {"image"}


def test_the_same_place_is_cut_out_of_both() -> None:
    large = torch.arange(16 * 12.0).reshape(1, 16, 12)
    step = RandPairedCropd(["image", "label"], [3, 9]).set_random_state(1)
    starts = set()
    for _ in range(5):
        item = step({"image": large[:, ::2, ::2], "label": large})
        assert item["image"].shape == (1, 3, 6) and item["label"].shape == (1, 6, 12)
        assert torch.equal(item["label"][:, ::2, ::2], item["image"])
        starts.add(float(item["image"][0, 0, 0]))
    assert len(starts) > 1
