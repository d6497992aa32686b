"""Gradient checkpointing: less memory in training, for one more forward pass of each part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run(module: nn.Module, *inputs: Any, use_checkpoint: bool) -> Tensor:
    """Apply a module, while training without keeping what is inside it if wished: it is computed again backwards.

    Example:
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> run(nn.Linear(2, 1), x, use_checkpoint=True).shape
        torch.Size([1, 1])
    """
    if use_checkpoint and module.training and torch.is_grad_enabled():
        again: Tensor = checkpoint(module, *inputs, use_reentrant=False)
        return again
    result: Tensor = module(*inputs)
    return result
