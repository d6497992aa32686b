"""Areas under curves and bootstrap intervals against known values."""

from __future__ import annotations

import numpy as np
import pytest

from medmamba_monai.collection.statistics import area_under_curve, bootstrap_interval


def test_area_equals_scikit_learn_with_ties() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    assert area_under_curve(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))


def test_area_of_one_kind_is_nan() -> None:
    assert np.isnan(area_under_curve(np.array([1.0, 2.0]), np.array([True, True])))


def test_interval_of_a_mean_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(lambda cases: float(values[cases].mean()), range(400))
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_whole_groups_are_drawn() -> None:
    values = np.repeat(np.random.default_rng(2).normal(size=30), 10)

    def width(groups: list[int]) -> float:
        low, high = bootstrap_interval(lambda cases: float(values[cases].mean()), groups, samples=500)
        return high - low

    # ten copies of a case hold no more than one: drawn apart the interval shrinks by sqrt(10)
    assert width([i // 10 for i in range(300)]) > 2.5 * width(list(range(300)))


def test_draws_without_a_value_are_left_out() -> None:
    low, high = bootstrap_interval(lambda cases: 1.0 if 0 in cases else float("nan"), [0, 1, 2])
    assert (low, high) == (1.0, 1.0)
    with pytest.raises(ValueError, match="no draw"):
        bootstrap_interval(lambda cases: float("nan"), [0, 1])
    with pytest.raises(ValueError, match="empty"):
        bootstrap_interval(lambda cases: 1.0, [])
