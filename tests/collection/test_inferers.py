"""The mirror inferer averages probabilities."""

from __future__ import annotations

import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from medmamba_monai.collection.inferers import MirrorInferer, MirrorSegmentationInferer


def test_probabilities_are_averaged_over_the_mirror_image() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    image = torch.randn(2, 1, 4, 3)
    found = MirrorInferer()(image, network).softmax(1)
    assert torch.allclose(found, (network(image).softmax(1) + network(image.flip(2)).softmax(1)) / 2, atol=1e-6)
    assert not torch.allclose(found, network(image).softmax(1), atol=1e-3)


def test_every_mirror_image_goes_through_the_window() -> None:
    network = nn.Conv2d(1, 2, 3, padding=1)
    image = torch.randn(1, 1, 8, 6)
    windows = SlidingWindowInferer((4, 4), overlap=0.5)
    found = MirrorSegmentationInferer([1], inferer=windows)(image, network).softmax(1)
    mirrored = windows(image.flip(3), network).flip(3)
    assert torch.allclose(found, (windows(image, network).softmax(1) + mirrored.softmax(1)) / 2, atol=1e-6)
    assert not torch.allclose(found, MirrorSegmentationInferer([1])(image, network).softmax(1), atol=1e-4)


def test_the_classes_of_the_two_sides_change_places_in_the_mirror() -> None:
    network = nn.Conv3d(1, 4, 3, padding=1)
    image = torch.randn(1, 1, 4, 5, 3)
    found = MirrorSegmentationInferer([0], side_pairs=[(1, 3)])(image, network).softmax(1)
    mirrored = network(image.flip(2)).flip(2).softmax(1)[:, [0, 3, 2, 1]]
    assert torch.allclose(found, (network(image).softmax(1) + mirrored) / 2, atol=1e-6)
    along = MirrorSegmentationInferer([1], side_pairs=[(1, 3)])(image, network).softmax(1)
    assert torch.allclose(along, (network(image).softmax(1) + network(image.flip(3)).flip(3).softmax(1)) / 2, atol=1e-6)
