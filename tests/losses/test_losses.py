"""Losses against their equations, written once more."""

from __future__ import annotations

import pytest
import torch

from medmamba_monai.losses import (
    SurvivalLoss,
    UncertaintyWeightedLoss,
    survival_curve,
    survival_interval,
    survival_risk,
)


def test_the_survival_curve_is_the_product_of_chances_to_live() -> None:
    logits = torch.randn(3, 5)
    hazards = logits.sigmoid()
    torch.testing.assert_close(survival_curve(logits), torch.cumprod(1 - hazards, 1))
    assert survival_risk(torch.full((1, 5), 2.0)) > survival_risk(torch.full((1, 5), -2.0))


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_survival_loss_is_the_likelihood(alpha: float) -> None:
    logits = torch.randn(4, 3)
    interval, censored = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 0, 1, 0])
    hazards = logits.sigmoid()
    expected = 0.0
    for row, k, c in zip(hazards, interval.tolist(), censored.tolist(), strict=True):
        alive = (1 - row[:k]).prod()
        chance = alive * (1 - row[k]) if c else alive * row[k]
        expected = expected - (1 - alpha if c else 1) * chance.log() / 4
    torch.testing.assert_close(SurvivalLoss(alpha)(logits, interval, censored), expected)


def test_survival_loss_is_finite_for_sure_wrong_answers() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = SurvivalLoss()(logits, torch.tensor([1]), torch.tensor([0]))
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_intervals_and_wrong_shapes() -> None:
    assert survival_interval(torch.tensor([0.0, 5.0]), torch.tensor([5.0])).tolist() == [0, 1]
    with pytest.raises(ValueError, match="alpha is 2"):
        SurvivalLoss(2)
    with pytest.raises(ValueError, match=r"give .batch, intervals."):
        SurvivalLoss()(torch.zeros(2, 3), torch.zeros(1), torch.zeros(2))


def test_uncertain_losses_get_less_weight() -> None:
    loss = UncertaintyWeightedLoss()
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(3, (2, 1, 8, 8)).float()
    optimizer = torch.optim.SGD(loss.parameters(), 0.1)
    values = [part(logits, labels) for part in loss.losses]
    for _ in range(400):
        optimizer.zero_grad()
        loss(logits, labels).backward()
        optimizer.step()
    # where the derivative by v = s^2 vanishes: v^2 = L (1 + v) / 2
    for value, deviation in zip(values, loss.deviations, strict=True):
        v = deviation.detach() ** 2
        torch.testing.assert_close(v * v, value * (1 + v) / 2, atol=1e-3, rtol=1e-2)


def test_there_must_be_a_loss() -> None:
    with pytest.raises(ValueError, match="empty"):
        UncertaintyWeightedLoss([])
