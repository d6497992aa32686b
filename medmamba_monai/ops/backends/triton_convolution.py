"""The causal convolution for GPUs in Triton, as a torch operator with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medmamba_monai.ops.backends import chunked, triton


def serves(x: Tensor) -> bool:
    """True when the kernel is the best way to convolve x: on a GPU, and not while a graph is exported."""
    return x.is_cuda and x.dtype != torch.float64 and not chunked.is_tracing() and triton.unavailable() is None


@torch.library.custom_op("medmamba_monai::triton_causal_conv1d", mutates_args=(), device_types=("cpu", "cuda"))
def triton_causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    """Convolve each channel of (B, D, L) with its own filter, looking only backwards."""
    from medmamba_monai.ops.backends.triton_kernels import convolution

    return convolution.forward(x, weight, bias, silu)


@triton_causal_conv1d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("medmamba_monai::triton_causal_conv1d_backward", mutates_args=(), device_types=("cpu", "cuda"))
def triton_causal_conv1d_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias; that of an absent bias is empty."""
    from medmamba_monai.ops.backends.triton_kernels import convolution

    dx, dweight, dbias = convolution.backward(dy, x, weight, bias, silu)
    return dx, dweight, x.new_empty(0) if dbias is None else dbias


@triton_causal_conv1d_backward.register_fake
def _(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(x),
        weight.new_empty(weight.shape),
        (x.new_empty(0) if bias is None else bias.new_empty(bias.shape)),
    )


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias = ctx.saved_tensors
    dx, dweight, dbias = triton_causal_conv1d_backward(dy, x, weight, bias, ctx.silu)
    return dx, dweight, None if bias is None else dbias, None


triton_causal_conv1d.register_autograd(_gradients, setup_context=_save_for_backward)
