"""Sequences in groups as paths of one direction, the form in which the fused backends scan."""

from __future__ import annotations

import torch
from torch import Tensor


def as_paths(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Views of the arguments of a scan, with P = G paths in R = 1 direction.

    Shape:
        u, z (B, P, D, L), delta (B, R, P, D, L), A (R, P, D, N), B, C (B, R, P, N, L), D, delta_bias (R, P, D).
    """
    paths = (B.shape[1], u.shape[1] // B.shape[1])
    return (
        torch.unflatten(u, 1, paths),
        torch.unflatten(delta, 1, paths).unsqueeze(1),
        torch.unflatten(A, 0, (1, *paths)),
        B.unsqueeze(1),
        C.unsqueeze(1),
        None if D is None else D.view(1, *paths),
        None if z is None else torch.unflatten(z, 1, paths),
        None if delta_bias is None else delta_bias.view(1, *paths),
    )
