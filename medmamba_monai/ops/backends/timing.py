"""Which of several GPU scans is the fastest: each is timed once for a class of shapes, and the winner is remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_STATES = 16
_RUNS = 5
# A trial of more numbers than this tells nothing new and takes memory that the caller may need.
_LARGEST = 2**24
_winners: dict[Shape, str] = {}


class Shape(NamedTuple):
    """A class of shapes: sequences and steps rounded up to powers of two."""

    device: torch.device
    dtype: torch.dtype
    sequences: int
    steps: int
    trains: bool


def shape_class(u: Tensor) -> Shape:
    """The class of u, (B, ..., D, L).

    Example:
        >>> shape_class(torch.zeros(2, 96, 100))[2:4]
        (256, 128)
    """
    length = u.shape[-1]
    steps = min(_power_of_two(length), _LARGEST)
    sequences = min(_power_of_two(u.numel() // length), max(1, _LARGEST // steps))
    return Shape(u.device, u.dtype, sequences, steps, torch.is_grad_enabled())


def fastest(candidates: Mapping[str, ModuleType], u: Tensor, timed: Callable[..., float] | None = None) -> str:
    """The name of the fastest candidate for tensors like u.

    Args:
        candidates: backends by name; the first is taken where nothing can be timed, as while a CUDA graph is recorded.
        u: the scan's input, (B, ..., D, L).
        timed: gives the milliseconds of a backend for a `Shape`; by CUDA events if not given.
    """
    names = list(candidates)
    if len(names) == 1 or torch.compiler.is_compiling():
        return names[0]
    shape = shape_class(u)
    if shape not in _winners:
        if u.is_cuda and torch.cuda.is_current_stream_capturing():
            return names[0]
        times = {name: (timed or milliseconds)(module, shape) for name, module in candidates.items()}
        _winners[shape] = min(times, key=times.__getitem__)
        told = ", ".join(f"{name} {time:.3f} ms" for name, time in times.items())
        logger.info("selective scan of %d x %d in %s: %s", shape.sequences, shape.steps, shape.dtype, told)
    return _winners[shape]


def milliseconds(backend: ModuleType, shape: Shape) -> float:
    """The shortest of five runs on a CUDA device, with the backward where gradients are wanted."""
    arguments = trial(shape)

    def run() -> None:
        y, _ = backend.scan(*arguments, None, None, None, True)
        if shape.trains:
            torch.autograd.grad(y.sum(), [x for x in arguments if x.requires_grad])

    with torch.cuda.device(shape.device), torch.set_grad_enabled(shape.trains):
        run()
        return min(_one(run) for _ in range(_RUNS))


def trial(shape: Shape) -> tuple[Tensor, ...]:
    """Made-up u, delta, A, B and C of a class of shapes; drawn apart, so that the caller's random numbers stay."""
    generator = torch.Generator(shape.device).manual_seed(0)

    def draw(*size: int, dtype: torch.dtype = shape.dtype) -> Tensor:
        x = torch.randn(size, generator=generator, device=shape.device)
        return x.to(dtype).requires_grad_(shape.trains)

    rates = -torch.arange(1.0, _STATES + 1, device=shape.device).repeat(shape.sequences, 1)
    maps = (1, 1, _STATES, shape.steps)
    large = (1, shape.sequences, shape.steps)
    return draw(*large), draw(*large), rates.requires_grad_(shape.trains), draw(*maps), draw(*maps)


def _one(run: Callable[[], None]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
