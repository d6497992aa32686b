"""Areas under curves and bootstrap intervals against known values."""

from __future__ import annotations

import numpy as np
import pytest

from medmamba_monai.collection.statistics import area_under_curve, bootstrap_intervals, brier_score


def test_area_equals_scikit_learn_with_ties() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    assert area_under_curve(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))


def test_area_of_one_kind_is_nan() -> None:
    assert np.isnan(area_under_curve(np.array([1.0, 2.0]), np.array([True, True])))


def test_interval_of_a_mean_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(size=400)
    [(low, high)] = bootstrap_intervals(lambda cases: [float(values[cases].mean())], range(400))
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_whole_groups_are_drawn() -> None:
    values = np.repeat(np.random.default_rng(2).normal(size=30), 10)

    def width(groups: list[int]) -> float:
        [(low, high)] = bootstrap_intervals(lambda cases: [float(values[cases].mean())], groups, samples=500)
        return high - low

    # ten copies of a case hold no more than one: drawn apart the interval shrinks by sqrt(10)
    assert width([i // 10 for i in range(300)]) > 2.5 * width(list(range(300)))


def test_draws_without_a_value_are_left_out() -> None:
    nan = float("nan")
    found = bootstrap_intervals(lambda cases: [1.0 if 0 in cases else nan, nan], [0, 1, 2])
    assert found[0] == (1.0, 1.0) and np.isnan(found[1]).all()
    with pytest.raises(ValueError, match="empty"):
        bootstrap_intervals(lambda cases: [1.0], [])


def test_brier_score_equals_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    chance, truth = rng.random(40), rng.random(40) < 0.5
    assert brier_score(chance[:, None], truth[:, None]) == pytest.approx(metrics.brier_score_loss(truth, chance))
