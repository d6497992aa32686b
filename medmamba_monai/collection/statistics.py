"""Metrics of a list of cases and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["area_under_curve", "bootstrap_intervals", "brier_score"]

Statistics = Callable[[NDArray[np.int64]], Sequence[float]]


def area_under_curve(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive case scores above a negative one, ties counting half.

    Args:
        scores: one number a case.
        positive: which cases are positive.

    Returns:
        The area, or NaN where one of the two kinds is absent.

    Example:
        >>> area_under_curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
        0.75
    """
    above, below = scores[positive], np.sort(scores[~positive])
    if not (above.size and below.size):
        return float("nan")
    lower, not_higher = (np.searchsorted(below, above, side) for side in ("left", "right"))
    return float(np.mean(lower + not_higher) / (2 * below.size))


def brier_score(chances: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Brier score: the mean squared distance of the probabilities from what was true; 0 is perfect.

    Args:
        chances: probabilities (cases, classes); the sum over the classes is taken.
        truth: which class is the true one (cases, classes).

    Example:
        >>> brier_score(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([[True, False], [True, False]]))
        0.29
    """
    return float(np.square(chances - truth).sum(1).mean())


def bootstrap_intervals(
    statistics: Statistics, groups: Sequence[Hashable], samples: int = 2000, level: float = 0.95, seed: int = 0
) -> list[tuple[float, float]]:
    """Percentile intervals of one or more statistics when whole groups of cases are drawn anew.

    Args:
        statistics: takes the numbers of the drawn cases and returns the values; a NaN leaves the draw out.
        groups: group of each case, such as its subject.
        samples: number of draws.
        level: share of the draws inside the interval.
        seed: seed of the draws.

    Returns:
        Lower and upper end for each value; NaN where no draw gave one.

    Raises:
        ValueError: without cases.

    Example:
        >>> [(low, high)] = bootstrap_intervals(lambda cases: [float(np.mean(cases))], [1, 2, 3, 4])
        >>> low < 1.5 < high
        True
    """
    if not groups:
        raise ValueError("groups is empty: give at least one case")
    members: dict[Hashable, list[int]] = {}
    for case, group in enumerate(groups):
        members.setdefault(group, []).append(case)
    cases = [np.array(found, dtype=np.int64) for found in members.values()]
    generator = np.random.default_rng(seed)
    values = np.array(
        [
            statistics(np.concatenate([cases[i] for i in generator.integers(0, len(cases), len(cases))]))
            for _ in range(samples)
        ]
    )
    return [_percentiles(column[np.isfinite(column)], level) for column in values.T]


def _percentiles(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
