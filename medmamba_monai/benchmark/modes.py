"""The ways to run one network that the benchmark compares: float32 or bfloat16, eager, compiled or as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medmamba_monai.benchmark.measure import Call
from medmamba_monai.ops import available_backends, backends


class Mode(NamedTuple):
    """A way to run a network: its name, autocast to bfloat16, torch.compile, a CUDA graph of inference, the scan."""

    name: str
    bfloat16: bool = False
    compiled: bool = False
    graph: bool = False
    backend: str | None = None


def modes(device: torch.device, scans: bool = False) -> list[Mode]:
    """Plain float32 on a CPU; on CUDA the other ways too, and for a network that scans each GPU backend by itself.

    Example:
        >>> [mode.name for mode in modes(torch.device("cpu"))]
        ['']
    """
    found = [Mode("")]
    if device.type == "cuda":
        for name, half in (("", False), (", bf16", True)):
            found += [Mode(name, half)] if half else []
            found += [Mode(f"{name}, compiled", half, compiled=True), Mode(f"{name}, CUDA graph", half, graph=True)]
            ready = [known for known in ("triton", "mamba_ssm") if scans and available_backends()[known] is None]
            found += [Mode(f"{name}, {known}", half, backend=known) for known in ready if len(ready) > 1]
    return found


def inference(net: nn.Module, x: Tensor, mode: Mode) -> Call:
    """A call without gradients."""
    run = torch.compile(net) if mode.compiled else net

    def call() -> object:
        with torch.no_grad(), _precision(x, mode), _scan(mode):
            return run(x)

    return _recorded(call) if mode.graph else call


def training_step(net: nn.Module, x: Tensor, mode: Mode) -> Call | None:
    """A forward and backward pass; None for graphs, which record the inference alone."""
    if mode.graph:
        return None
    run = torch.compile(net) if mode.compiled else net

    def call() -> None:
        with _precision(x, mode), _scan(mode):
            y = run(x)
        (y[0] if isinstance(y, (list, tuple)) else y).float().sum().backward()
        net.zero_grad()

    return call


def tried(make: Callable[[], Call | None]) -> tuple[Call | None, str | None]:
    """Make a call and run it once: the call, or why it fails; compilers and graphs refuse some networks.

    Example:
        >>> tried(lambda: 1 / 0)
        (None, 'failed: division by zero')
    """
    try:
        call = make()
        if call is not None:
            call()
    except Exception as error:  # a compiler's errors have no common class
        return None, f"failed: {str(error).partition(chr(10))[0]}"
    return call, None


def _precision(x: Tensor, mode: Mode) -> torch.autocast:
    # without its cache, so that a graph holds no weights that autocast converted outside it
    return torch.autocast(x.device.type, torch.bfloat16, enabled=mode.bfloat16, cache_enabled=not mode.graph)


def _scan(mode: Mode) -> AbstractContextManager[None]:
    return nullcontext() if mode.backend is None else backends.preferred(mode.backend)


def _recorded(call: Call) -> Call:
    """Record a call on CUDA once and replay it, without the time that launching every kernel takes."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
