"""Outlines lie where the label ends, planes keep the proportions of the body, bars are as long as the probability."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from medmamba_monai.collection.drawing import COLOURS, GAP, draw_chances, draw_contours, draw_outlines


def test_outlines_lie_on_the_border_of_the_label() -> None:
    label = np.zeros((6, 7), int)
    label[2:5, 1:6] = 1
    picture = draw_contours(np.random.default_rng(0).normal(size=(6, 7)), label, 1)
    coloured = picture.max(-1) != picture.min(-1)
    border = label.astype(bool).copy()
    border[3, 2:5] = False
    assert np.array_equal(coloured, border)


def test_a_dark_rim_sets_outlines_off_a_colour_picture() -> None:
    label = np.zeros((7, 7), int)
    label[3, 3] = 1
    picture = draw_contours(np.full((7, 7, 3), (230, 60, 50)), label)
    assert (picture[3, 3] == COLOURS[0]).all()
    dark = ~picture.any(-1)
    assert dark[3, 2] and dark[3, 4] and dark[2, 3] and dark[4, 3] and dark.sum() == 4


def test_touching_objects_are_parted_by_their_outlines() -> None:
    label = np.zeros((5, 8), int)
    label[:, :4], label[:, 4:] = 1, 7  # colours repeat after five
    picture = draw_contours(np.zeros((5, 8)), label)
    assert (picture[2, 3] == COLOURS[0]).all() and (picture[2, 4] == COLOURS[1]).all()
    assert (picture[2, 1] == 0).all()


def test_colours_stay_colours() -> None:
    image = torch.zeros(3, 30, 20)
    image[0, 10:] = 200.0
    picture = draw_outlines(image, {"": torch.zeros(1, 30, 20)}, scale=1)
    assert picture.shape == (20, 30 + GAP, 3)
    assert (picture[:, 10:30] == (255, 0, 0)).all() and (picture[:, :10] == 0).all()


def test_thick_slices_are_stretched() -> None:
    affine = torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0]))
    label = torch.zeros(1, 12, 14, 4)
    label[0, 3:6, 4:8, 2] = 1
    image = MetaTensor(torch.rand(1, 12, 14, 4), affine=affine)
    labels = {name: MetaTensor(label, affine=affine) for name in ("prediction", "reference")}
    row = max(4 * 5 * 2, 14 * 2) + 16
    assert draw_outlines(image, labels, scale=2).shape == (2 * row, 2 * (14 + 12 + 12) + 3 * GAP, 3)


def test_bars_are_as_long_as_the_probabilities() -> None:
    picture = draw_chances(torch.rand(3, 8, 8), {"cat": 0.25, "dog": 0.75}, truth="dog")
    bars = [int((picture == colour).all(-1).sum(1).max()) for colour in COLOURS[:2]]
    assert abs(bars[1] / bars[0] - 3) < 0.1
    assert picture[:16].any() and picture.shape == (16 + 320 + 44, 320, 3)
