"""The scan of Mamba-2 for GPUs in Triton, as a torch operator with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medmamba_monai.ops.backends import chunked, triton

# Wider tiles do not fit on the chip.
_WIDEST = 128
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def serves(x: Tensor, B: Tensor) -> bool:
    """True when the kernels can and should scan x (B, L, H, P): on a GPU, and not while a graph is exported."""
    if not x.is_cuda or x.dtype not in _DTYPES or max(x.shape[-1], B.shape[-1]) > _WIDEST or 0 in x.shape:
        return False
    return not chunked.is_tracing() and triton.unavailable() is None


@torch.library.custom_op("medmamba_monai::triton_dual_scan", mutates_args=(), device_types=("cpu", "cuda"))
def triton_dual_scan(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the last states and the states that enter the chunks, all in float32.

    Shapes are those of `scalar_decay_scan`, without a rank.
    """
    from medmamba_monai.ops.backends.triton_kernels import dual

    return dual.forward(x, log_decay, B, C, initial)


@triton_dual_scan.register_fake
def _(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    from medmamba_monai.ops.backends.triton_kernels import dual

    batch, length, heads, width = x.shape
    states = B.shape[-1]
    last = x.new_empty((batch, heads, width, states), dtype=torch.float32)
    chunks = -(-length // dual.chunk_length(states))
    return last.new_empty(x.shape), last, last.new_empty((batch, heads, chunks, width, states))


@torch.library.custom_op("medmamba_monai::triton_dual_scan_backward", mutates_args=(), device_types=("cpu", "cuda"))
def triton_dual_scan_backward(
    dy: Tensor, dlast: Tensor | None, x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, entering: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, the decays, B, C and the first states."""
    from medmamba_monai.ops.backends.triton_kernels import dual

    return dual.backward(dy, dlast, x, log_decay, B, C, entering)


@triton_dual_scan_backward.register_fake
def _(
    dy: Tensor, dlast: Tensor | None, x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, entering: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dfirst = entering.new_empty((*entering.shape[:2], *entering.shape[3:]))
    return (*(v.new_empty(v.shape) for v in (x, log_decay, B, C)), dfirst)  # type: ignore[return-value]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, initial = inputs
    ctx.initial_dtype = None if initial is None else initial.dtype
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor | None, dlast: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    if dy is None:
        dy = torch.zeros_like(tensors[0], dtype=torch.float32)
    *found, dfirst = triton_dual_scan_backward(dy, dlast, *tensors)
    return (*found, None if ctx.initial_dtype is None else dfirst.to(ctx.initial_dtype))


triton_dual_scan.register_autograd(_gradients, setup_context=_save_for_backward)
