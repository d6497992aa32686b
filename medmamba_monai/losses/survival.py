"""Survival in intervals of time: hazards from logits, and their likelihood with censored patients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def survival_curve(logits: Tensor) -> Tensor:
    """The chance to live beyond each interval: the product of 1 - hazard, where hazard = sigmoid(logit).

    Shape:
        logits (B, T); returns (B, T).

    Example:
        >>> survival_curve(torch.zeros(1, 3)).tolist()
        [[0.5, 0.25, 0.125]]
    """
    return F.logsigmoid(-logits.float()).cumsum(-1).exp()


def survival_risk(logits: Tensor) -> Tensor:
    """One number a patient, larger for a shorter expected life: minus the sum of the survival curve.

    Shape:
        logits (B, T); returns (B).

    Example:
        >>> survival_risk(torch.zeros(1, 2)).tolist()
        [-0.75]
    """
    return -survival_curve(logits).sum(-1)


class SurvivalLoss(nn.Module):
    """Minus the log-likelihood of the interval of death, or of life beyond the last visit.

    "Bias in Cross-Entropy-Based Training of Deep Survival Networks" (10.1109/TPAMI.2020.2979450), equation 4; used by
    MambaMIL (arXiv 2403.06800).

    Args:
        alpha: share of the censored patients' part that is taken away, from 0 to 1.

    Shape:
        logits (B, T); interval (B), whole numbers from 0 to T - 1; censored (B), 1 where the patient was last seen
        alive. Returns one number, the mean over the patients.

    Raises:
        ValueError: when alpha is out of range or the shapes do not fit.

    Example:
        >>> loss = SurvivalLoss()
        >>> round(loss(torch.zeros(1, 4), torch.tensor([1]), torch.tensor([0])).item(), 4)
        1.3863
    """

    def __init__(self, alpha: float = 0.0) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}: give a number from 0 to 1")
        self.alpha = alpha

    def forward(self, logits: Tensor, interval: Tensor, censored: Tensor) -> Tensor:
        if logits.dim() != 2 or interval.shape != logits.shape[:1] or censored.shape != logits.shape[:1]:
            raise ValueError(
                f"logits, interval and censored have shapes {tuple(logits.shape)}, {tuple(interval.shape)} and "
                f"{tuple(censored.shape)}: give (batch, intervals), (batch) and (batch)"
            )
        logits, rows = logits.float(), interval.long().unsqueeze(1)
        beyond = F.logsigmoid(-logits).cumsum(1)
        # before the first interval everyone lives
        until = F.pad(beyond, (1, 0))[:, :-1]
        died = -(until.gather(1, rows) + F.logsigmoid(logits).gather(1, rows)).squeeze(1)
        lived = -beyond.gather(1, rows).squeeze(1)
        weight = censored.to(logits)
        loss: Tensor = ((1 - weight) * died + (1 - self.alpha) * weight * lived).mean()
        return loss


def survival_interval(times: Tensor, edges: Tensor) -> Tensor:
    """The interval of each time, counted from 0, between ascending edges; the last one is open.

    Example:
        >>> survival_interval(torch.tensor([3.0, 12.0, 70.0]), torch.tensor([12.0, 36.0])).tolist()
        [0, 1, 2]
    """
    return torch.bucketize(times, edges, right=True)
