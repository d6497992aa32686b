"""TorchScript traces for tests, without what they would leave in memory."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from torch import nn

from tests.networks.inputs import Given

Tracer = Callable[[nn.Module, Given], torch.jit.ScriptModule]


def trace(net: nn.Module, given: Given) -> torch.jit.ScriptModule:
    """Trace a network, save it and read it back; what was read frees its graphs when it goes."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, given, check_trace=False), file)
    file.seek(0)
    return torch.jit.load(file)


def forget() -> None:
    """Drop the classes of all traces so far.

    PyTorch keeps them, with their graphs and constants, in a compilation unit that lives as long as the process. Its
    own tests drop them in the same way.
    """
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
    torch.jit._state._clear_class_state()
