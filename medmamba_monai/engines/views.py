"""Several networks that look at the same image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Views(nn.Module):
    """Networks side by side, trained as one by ``monai.engines.SupervisedTrainer``.

    The losses for few labels, `medmamba_monai.losses.CrossPseudoLoss` and `ScribbleLoss`, take what it gives. After
    training use the networks one by one: ``views.networks[0]``.

    Args:
        networks: at least two networks that give logits of the same shape.

    Shape:
        x (B, channels, *S); returns (B, V, classes, *S), V counts the networks.

    Raises:
        ValueError: when there are fewer than two networks.
        TypeError: when a network gives more than one map.

    Example:
        >>> views = Views([nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 3, padding=1)])
        >>> views(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 2, 3, 8, 8])
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if len(networks) < 2:
            raise ValueError(f"there are {len(networks)} networks: give at least two, they learn from each other")
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        answers = [network(x) for network in self.networks]
        for network, answer in zip(self.networks, answers, strict=True):
            if not isinstance(answer, Tensor):
                raise TypeError(f"{type(network).__name__} gives a {type(answer).__name__}: set deep_supervision=False")
        return torch.stack(answers, 1)
