"""The selective scan of a whole grid in channels-last layout, as scan mixers use it."""

from __future__ import annotations

import torch
from torch import Tensor

from medmamba_monai.ops import backends
from medmamba_monai.ops.selective_scan import bidirectional_selective_scan


def grid_selective_scan(
    u: Tensor,
    projected: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    index: Tensor,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    """Scan a grid along P paths in R directions and add all of them up, position by position.

    The whole SS2D core of VMamba (arXiv 2401.10166): cross scan, widening of the step sizes, S6, cross merge. The
    step sizes are softplus(dt_weight dt + dt_bias).

    Args:
        u: the tokens of the grid in storage order.
        projected: for each token, direction and path its small dt, then B, then C.
        dt_weight: widens the small dt to all channels.
        A: decay rates.
        index: for each path the position of its steps, int32.
        D: skip weights, or None.
        dt_bias: added to the widened dt, or None.
        backend: "auto" or a name from `available_backends()`.

    Shape:
        u (B, L, D); projected (B, L, R, P, rank + 2 N); dt_weight (R, P, D, rank); A (R, P, D, N); index (P, L);
        D, dt_bias (R, P, D). Returns (B, L, D).

    Raises:
        ValueError: when a shape, dtype or backend name does not fit.
        RuntimeError: when the forced backend cannot run here.

    Example:
        >>> u, index = torch.ones(1, 3, 1), torch.arange(3, dtype=torch.int32)[None]
        >>> projected = torch.ones(1, 3, 2, 1, 3)
        >>> y = grid_selective_scan(u, projected, torch.full((2, 1, 1, 1), 20.0), torch.zeros(2, 1, 1, 1), index)
        >>> y.flatten().tolist()
        [80.0, 80.0, 80.0]

    Notes:
        The state is float32 whatever the dtype of u.
    """
    _check(u, projected, dt_weight, A, index)
    module = backends.choose(backend, u.transpose(1, 2))
    fused = getattr(module, "grid_scan", None)
    if fused is not None:
        result: Tensor = fused(u, projected, dt_weight, A, D, dt_bias, index)
        return result
    states, rank = A.shape[-1], dt_weight.shape[-1]
    order = index.long()
    # (B, L, R, P, X) to (B, R, P, X, L), each path in its own order.
    along = torch.stack([projected[:, order[p], :, p] for p in range(index.shape[0])], 2).movedim(1, -1)
    along = along.permute(0, 2, 1, 3, 4)
    dt, B, C = along.split_with_sizes((rank, states, states), 3)
    paths = torch.stack([u[:, line] for line in order], 1).transpose(2, 3)
    y = bidirectional_selective_scan(paths, dt_weight @ dt, A, B, C, D, dt_bias, True, backend=backend)
    merged = torch.zeros_like(u)
    for line, path in zip(order, y.transpose(2, 3).unbind(1), strict=True):
        merged = merged.index_add(1, line, path)
    return merged


def runs_fused(u: Tensor) -> bool:
    """True when the automatic backend scans a grid like u, (B, *S, D), in one pass: channels last is then the best."""
    return hasattr(backends.choose("auto", u.flatten(1, -2).transpose(1, 2)), "grid_scan")


def _check(u: Tensor, projected: Tensor, dt_weight: Tensor, A: Tensor, index: Tensor) -> None:
    if u.dim() != 3 or 0 in u.shape:
        raise ValueError(f"u has shape {tuple(u.shape)}: it must be (batch, length, channels), each at least 1")
    batch, length, channels = u.shape
    if A.dim() != 4 or A.shape[2] != channels or A.shape[0] not in (1, 2):
        raise ValueError(f"A has shape {tuple(A.shape)}: it must be (1 or 2 directions, paths, {channels}, states)")
    directions, paths, _, states = A.shape
    if dt_weight.dim() != 4 or tuple(dt_weight.shape[:3]) != (directions, paths, channels):
        raise ValueError(
            f"dt_weight has shape {tuple(dt_weight.shape)}: it must be ({directions}, {paths}, {channels}, rank)"
        )
    wanted = (batch, length, directions, paths, dt_weight.shape[3] + 2 * states)
    if tuple(projected.shape) != wanted:
        raise ValueError(f"projected has shape {tuple(projected.shape)}: it must be {wanted}, dt then B then C")
    if tuple(index.shape) != (paths, length) or index.dtype != torch.int32:
        raise ValueError(
            f"index has shape {tuple(index.shape)} and dtype {index.dtype}: it must be ({paths}, {length}), int32"
        )
