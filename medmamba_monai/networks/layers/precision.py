"""What half precision may not do to a Mamba network: overflow to infinity, from which NaN follows."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context in which autocast is off on the device of ``x``; nothing at all where it is off already.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(torch.zeros(1)):
        ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
        torch.float32
    """
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def float16_autocast(x: Tensor) -> bool:
    """True where autocast would run matrix products on ``x`` in float16, whose largest number is 65504.

    Example:
        >>> float16_autocast(torch.zeros(1))
        False
    """
    kind = x.device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return x.dtype == torch.float16
    return torch.get_autocast_dtype(kind) == torch.float16


def saturate(x: Tensor) -> Tensor:
    """Clip a float16 tensor to half its finite range, so that infinity never meets a sum or a mean.

    Tensors of other types pass through unchanged. Half the range, so that the sum of two such tensors is finite too.

    Example:
        >>> saturate(torch.tensor([1.0, float("inf")], dtype=torch.float16)).tolist()
        [1.0, 32752.0]
    """
    if x.dtype != torch.float16:
        return x
    limit = torch.finfo(torch.float16).max / 2
    return x.clamp(-limit, limit)
