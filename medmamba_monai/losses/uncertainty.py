"""Several losses added up with weights that are learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class UncertaintyWeightedLoss(nn.Module):
    """Add losses, each divided by its learned variance, plus the logarithm that keeps the variances small.

    UU-Mamba (arXiv 2405.17496), section 2.3, after "Multi-Task Learning Using Uncertainty to Weigh Losses"
    (arXiv 1705.07115): sum of L_i / (2 s_i^2) + log(1 + s_i^2). UU-Mamba trains U-Mamba with Dice, cross entropy and
    focal loss, and steps with sharpness-aware minimisation.

    Args:
        losses: losses of a prediction and a target; by default MONAI's Dice, cross entropy and focal loss for
            logits and one channel of class numbers.

    Shape:
        input and target as the losses take them; returns one number.

    Raises:
        ValueError: when there is no loss.

    Example:
        >>> loss = UncertaintyWeightedLoss([nn.MSELoss(), nn.L1Loss()])
        >>> round(loss(torch.ones(2), torch.zeros(2)).item(), 4)
        2.3863

    Notes:
        The weights are parameters: give them to the optimiser too, for example by adding ``loss.parameters()``.
    """

    def __init__(self, losses: Sequence[nn.Module] | None = None) -> None:
        super().__init__()
        if losses is None:
            from monai.losses import DiceCELoss, DiceLoss, FocalLoss

            losses = [
                DiceLoss(softmax=True, to_onehot_y=True),
                DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=0.0),
                FocalLoss(use_softmax=True, to_onehot_y=True),
            ]
        if not losses:
            raise ValueError("losses is empty: give at least one loss")
        self.losses = nn.ModuleList(losses)
        self.deviations = nn.Parameter(torch.ones(len(losses)))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        values = torch.stack([loss(input, target) for loss in self.losses])
        variances = self.deviations.square()
        total: Tensor = (values / (2 * variances) + torch.log1p(variances)).sum()
        return total
