"""What half precision may not do to a Mamba network: overflow to infinity, from which NaN follows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmamba_monai.ops.autocast import autocast_dtype, without_autocast

__all__ = ["Saturate", "autocast_dtype", "in_float32", "is_tracing", "saturate", "without_autocast"]


def in_float32(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a module, in float32 where autocast would take float16.

    For cheap layers without a norm behind them: the gradient of their weights grows with their input and leaves
    float16's range long before the output does.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.float16):
        ...     in_float32(nn.Linear(1, 1), torch.ones(1, 1)).dtype
        torch.float32
    """
    if autocast_dtype(x) != torch.float16:
        result: Tensor = module(x)
        return result
    with without_autocast(x):
        result = module(x.float())
    return result


def saturate(x: Tensor) -> Tensor:
    """Clip a tensor to half of float16's range, so that infinity never meets a sum or a mean.

    Only where float16 is used: the tensor is one, or autocast would make it one. Else it passes through unchanged.
    Half the range, so that the sum of two such tensors is finite too.

    Example:
        >>> saturate(torch.tensor([1.0, float("inf")], dtype=torch.float16)).tolist()
        [1.0, 32752.0]
    """
    if torch.float16 not in (x.dtype, autocast_dtype(x)):
        return x
    limit = torch.finfo(torch.float16).max / 2
    return x.clamp(-limit, limit)


def is_tracing() -> bool:
    """True while TorchScript records a trace, which must hold for other sizes too.

    Example:
        >>> is_tracing()
        False
    """
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


class Saturate(nn.Module):
    """`saturate` as a module, for sequences of modules.

    Shape:
        x of any shape; returns the same shape.

    Example:
        >>> Saturate()(torch.ones(1)).tolist()
        [1.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        return saturate(x)
