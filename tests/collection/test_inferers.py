"""The mirror inferer averages probabilities."""

from __future__ import annotations

import torch
from torch import nn

from medmamba_monai.collection.inferers import MirrorInferer


def test_probabilities_are_averaged_over_the_mirror_image() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    image = torch.randn(2, 1, 4, 3)
    found = MirrorInferer()(image, network).softmax(1)
    assert torch.allclose(found, (network(image).softmax(1) + network(image.flip(2)).softmax(1)) / 2, atol=1e-6)
    assert not torch.allclose(found, network(image).softmax(1), atol=1e-3)
