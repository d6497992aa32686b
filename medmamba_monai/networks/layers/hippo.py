"""Initial values of linear state-space models: the HiPPO matrix and its diagonal approximations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DIAGONALS = ("legs", "diag-lin", "diag-inv", "diag-real")


def hippo_legs(states: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The HiPPO-LegS system as a normal matrix minus a rank one, in the basis where the normal part is diagonal.

    S4 (arXiv 2111.00396), equation 2 and theorem 1. Of each pair of conjugate eigenvalues the upper one comes first.

    Args:
        states: number of states, at least 2.

    Returns:
        Eigenvalues, low-rank part P, input map B (N) and eigenvectors (N, N), complex128, sorted by falling frequency.

    Example:
        >>> Lambda, P, B, V = hippo_legs(4)
        >>> Lambda.real.tolist()
        [-0.5, -0.5, -0.5, -0.5]
    """
    n = torch.arange(states, dtype=torch.float64)
    root = torch.sqrt(2 * n + 1)
    outer = root[:, None] * root
    # A = -tril(outer) with n + 1 on the diagonal; adding P P^T leaves half of the identity and a skew-symmetric part
    skew = torch.triu(outer, 1) / 2 - torch.tril(outer, -1) / 2
    frequency, V = torch.linalg.eigh(torch.complex(torch.zeros_like(skew), -skew))
    order = torch.argsort(frequency, descending=True)
    frequency, V = frequency[order], V[:, order]
    Lambda = torch.complex(torch.full_like(frequency, -0.5), frequency)
    to_basis = V.mH
    return Lambda, to_basis @ torch.sqrt(n + 0.5).to(V.dtype), to_basis @ root.to(V.dtype), V


def diagonal_start(name: str, states: int) -> Tensor:
    """Initial diagonal of the state map: one half of conjugate pairs, or all states for "diag-real".

    S4D (arXiv 2206.11893), section 4: LegS, Lin, Inv and Real.

    Args:
        name: one of "legs", "diag-lin", "diag-inv", "diag-real".
        states: number of states N, even unless real.

    Shape:
        Returns (N / 2) complex128, or (N) for "diag-real".

    Raises:
        ValueError: when the name is unknown.

    Example:
        >>> diagonal_start("diag-lin", 4)
        tensor([-0.5000+0.0000j, -0.5000+3.1416j], dtype=torch.complex128)
    """
    if name == "diag-real":
        return -(torch.arange(states, dtype=torch.float64) + 1).to(torch.complex128)
    n = torch.arange(states // 2, dtype=torch.float64)
    if name == "legs":
        return hippo_legs(states)[0][: states // 2].flip(0)
    if name == "diag-lin":
        frequency = math.pi * n
    elif name == "diag-inv":
        frequency = states / math.pi * (states / (2 * n + 1) - 1)
    else:
        raise ValueError(f"init {name!r} is unknown: use one of {DIAGONALS}")
    return torch.complex(torch.full_like(n, -0.5), frequency)


def initial_log_step(channels: int, dt_min: float, dt_max: float) -> Tensor:
    """Logarithms of step sizes drawn evenly between those of dt_min and dt_max, shape (channels).

    Example:
        >>> initial_log_step(2, 1.0, 1.0).tolist()
        [0.0, 0.0]
    """
    if not 0 < dt_min <= dt_max:
        raise ValueError(f"dt_min is {dt_min} and dt_max {dt_max}: give 0 < dt_min <= dt_max")
    return torch.empty(channels).uniform_(math.log(dt_min), math.log(dt_max))
