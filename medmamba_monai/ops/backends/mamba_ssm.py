"""Adapter to the CUDA kernel of the mamba-ssm package."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

_INSTALL = (
    "on a machine with nvcc run `MAMBA_KEEP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE pip install mamba-ssm "
    "--no-build-isolation`"
)


@functools.cache
def unavailable() -> str | None:
    """None when the kernel can be called, else why not."""
    if not torch.cuda.is_available():
        return "no CUDA device is visible to torch"
    try:
        # mamba_ssm imports without its kernel since 2026: only the kernel itself tells.
        import selective_scan_cuda  # noqa: F401
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return f"mamba-ssm's CUDA kernel does not load ({error}): {_INSTALL}"
    return None


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
    """Run mamba-ssm's kernel and return (y, last state); B and C are (B, G, N, L)."""
    if not u.is_cuda:
        raise RuntimeError(f"backend 'mamba_ssm' got a tensor on {u.device}: it computes on CUDA; use backend='auto'")
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    if z is not None:
        z = z.to(u.dtype)
    D, delta_bias = (None if x is None else x.float() for x in (D, delta_bias))
    y, state = selective_scan_fn(
        u, delta.to(u.dtype), A.float(), B.to(u.dtype), C.to(u.dtype), D, z, delta_bias, delta_softplus, True
    )
    return y, state
