"""The scan for GPUs in Triton, which comes with torch on Linux: no compiler is needed.

A sequence is cut into tiles that all run at once. A first pass finds what each tile adds to the state, a second joins
the tiles, a third runs every tile from the state that enters it. Inside a tile the steps are joined by an associative
scan. The backward saves only the states entering the tiles and sums without atomics, so that results are the same bits
twice in a row.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from medmamba_monai.ops.backends.paths import as_paths

# Triton itself reads this variable when it is first imported.
_INTERPRETER = "TRITON_INTERPRET"
_INSTALLED = importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """True when kernels run in Triton's interpreter, on the CPU and slowly, as tests do where there is no GPU."""
    return os.environ.get(_INTERPRETER) == "1"


def unavailable() -> str | None:
    """None when the kernels can run, else why not."""
    if not _INSTALLED:
        return "triton is not installed: on Linux it comes with torch for CUDA and ROCm"
    if not torch.cuda.is_available() and not interpreted():
        return f"no CUDA device is visible to torch ({_INTERPRETER}=1 runs the kernels on the CPU, slowly, for tests)"
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
    """Run the kernels and return (y, last state); B and C are (B, G, N, L)."""
    _check(u, delta, A, B, C, D, z, delta_bias)
    y, last, _ = triton_scan(*as_paths(u, delta, A, B, C, D, z, delta_bias), delta_softplus)
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
    _check(u, delta, A, B, C, D, delta_bias)
    y: Tensor = triton_scan(u, delta, A, B, C, D, None, delta_bias, delta_softplus)[0]
    return y


@torch.library.custom_op("medmamba_monai::triton_scan", mutates_args=(), device_types=("cpu", "cuda"))
def triton_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the last states and the states that enter the tiles; shapes as in `as_paths`."""
    from medmamba_monai.ops.backends.triton_kernels import launch

    return launch.forward(launch.Inputs(u, delta, A, B, C, D, z, bias), softplus)


@triton_scan.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    from medmamba_monai.ops.backends.triton_kernels import launch

    *sequences, length = delta.shape
    states = A.shape[-1]
    last = u.new_empty((*sequences, states), dtype=torch.float32)
    return u.new_empty(u.shape), last, last.new_empty((*sequences, launch.tile_count(length, states), states))


@torch.library.custom_op("medmamba_monai::triton_scan_backward", mutates_args=(), device_types=("cpu", "cuda"))
def triton_scan_backward(
    dy: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    starts: Tensor,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of u, delta, A, B, C, D, z and bias; those of absent inputs are empty."""
    from medmamba_monai.ops.backends.triton_kernels import launch

    *present, dD, dz, dbias = launch.backward(dy, dlast, launch.Inputs(u, delta, A, B, C, D, z, bias), starts, softplus)
    du, ddelta, dA, dB, dC = present
    dD, dz, dbias = (_like(None, u) if x is None else x for x in (dD, dz, dbias))
    return du, ddelta, dA, dB, dC, dD, dz, dbias


@triton_scan_backward.register_fake
def _(
    dy: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    starts: Tensor,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    du, ddelta, dA, dB, dC, dD, dz, dbias = (_like(x, u) for x in (u, delta, A, B, C, D, z, bias))
    return du, ddelta, dA, dB, dC, dD, dz, dbias


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor | None, dlast: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, starts = ctx.saved_tensors
    if dy is None:
        dy = torch.zeros_like(tensors[0])
    found = triton_scan_backward(dy, dlast, *tensors, starts, ctx.softplus)
    return (*(g if x is not None else None for g, x in zip(found, tensors, strict=True)), None)


triton_scan.register_autograd(_gradients, setup_context=_save_for_backward)


def _like(x: Tensor | None, u: Tensor) -> Tensor:
    return u.new_empty(0) if x is None else x.new_empty(x.shape)


def _check(*tensors: Tensor | None) -> None:
    device = "cpu" if interpreted() else "cuda"
    for x in tensors:
        if x is not None and (x.device.type != device or x.dtype == torch.float64):
            raise RuntimeError(
                f"backend 'triton' got a {x.dtype} tensor on {x.device}: it computes in float32 on "
                f"{'the CPU, interpreted' if interpreted() else 'CUDA'}; use backend='auto'"
            )
