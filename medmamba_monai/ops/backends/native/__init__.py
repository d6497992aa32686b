"""The compiled scan for CPUs: one C++ source, AVX-512, AVX2, NEON or portable code chosen at run time."""

from __future__ import annotations

import torch
from torch import Tensor

from medmamba_monai.ops.backends.native import library
from medmamba_monai.ops.backends.native.grid_scan import grid_scan as _grid_scan
from medmamba_monai.ops.backends.native.path_scan import path_scan
from medmamba_monai.ops.backends.paths import as_paths


def unavailable() -> str | None:
    """None when the compiled library is loaded, else why not."""
    return library.load()[1]


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    """Run the compiled recurrence and return (y, last state); B and C are (B, G, N, L)."""
    y, last = _run(*as_paths(u, delta, A, B, C, D, z, delta_bias), delta_softplus)
    return y.flatten(1, 2), last.view(u.shape[0], u.shape[1], -1)


def bidirectional_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """Run all paths in both directions and sum the directions in one pass."""
    return _run(u, delta, A, B, C, D, None, delta_bias, delta_softplus)[0]


def grid_scan(
    u: Tensor,
    projected: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    index: Tensor,
) -> Tensor:
    """Scan a grid, channels last, along all its paths and directions in one pass."""
    present = [x for x in (u, projected, dt_weight, A, D, dt_bias) if x is not None]
    _check(present)
    dtype, wanted = u.dtype, _wants_gradient(present)
    u, projected, dt_weight, A = (x.float() for x in (u, projected, dt_weight, A))
    D, dt_bias = (None if x is None else x.float() for x in (D, dt_bias))
    y: Tensor = _grid_scan(u, projected, dt_weight, A, D, dt_bias, index, wanted)[0]
    return y.to(dtype)


def _run(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
) -> tuple[Tensor, Tensor]:
    present = [x for x in (u, delta, A, B, C, D, z, bias) if x is not None]
    _check(present)
    dtype = u.dtype
    u, delta, A, B, C = (x.float() for x in (u, delta, A, B, C))
    D, z, bias = (None if x is None else x.float() for x in (D, z, bias))
    y, last, _ = path_scan(u, delta, A, B, C, D, z, bias, softplus, _wants_gradient(present))
    return y.to(dtype), last


def _wants_gradient(tensors: list[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _check(tensors: list[Tensor]) -> None:
    for x in tensors:
        if x.device.type != "cpu" or x.dtype == torch.float64:
            raise RuntimeError(
                f"backend 'native' got a {x.dtype} tensor on {x.device}: it computes in float32 on the CPU; "
                "use backend='auto'"
            )
