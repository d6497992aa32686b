"""The implementations of the selective scan and the rule that picks one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, ModuleType

import torch
from torch import Tensor

from medmamba_monai.ops.backends import chunked, mamba_ssm, native, reference, timing, triton

logger = logging.getLogger(__name__)

BACKENDS: dict[str, ModuleType] = {
    "reference": reference,
    "chunked": chunked,
    "native": native,
    "triton": triton,
    "mamba_ssm": mamba_ssm,
}
_BEST = {"cpu": ("native",), "cuda": ("triton", "mamba_ssm")}
_logged: set[tuple[str, str]] = set()
_preferred: str | None = None


def available_backends() -> dict[str, str | None]:
    """Name every backend of the scan: None when it can run here, else the reason why not.

    Example:
        >>> available_backends()["chunked"] is None
        True
    """
    return {name: module.unavailable() for name, module in BACKENDS.items()}


def choose(backend: str, u: Tensor, cannot: Mapping[str, str] = MappingProxyType({})) -> ModuleType:
    """Return the module that will run: the forced one, or the best one for the device, dtype and tracing state.

    `cannot` names backends that do not serve this very call, each with the reason.
    """
    if backend == "auto" and _preferred is not None:
        backend = _preferred
    if backend == "auto":
        name = _automatic(u, cannot)
        if not torch.compiler.is_compiling():
            _log_once(name, u.device.type)
        return BACKENDS[name]
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown: use one of {['auto', *BACKENDS]}")
    module = BACKENDS[backend]
    reason: str | None = module.unavailable() or cannot.get(backend)
    if reason is not None:
        raise RuntimeError(f"backend {backend!r} cannot run: {reason}; use backend='auto' to take the best one here")
    return module


@contextmanager
def preferred(name: str) -> Iterator[None]:
    """Let backend="auto" mean this backend inside the block, to compare backends inside whole networks."""
    global _preferred
    before, _preferred = _preferred, name
    try:
        yield
    finally:
        _preferred = before


def _automatic(u: Tensor, cannot: Mapping[str, str]) -> str:
    """The compiled scan on a CPU, the faster kernel on CUDA, plain torch for graphs and the rest."""
    if chunked.is_tracing() or u.dtype == torch.float64:
        return "chunked"
    known = _BEST.get(u.device.type, ())
    ready = {name: BACKENDS[name] for name in known if name not in cannot and BACKENDS[name].unavailable() is None}
    return timing.fastest(ready, u) if ready else "chunked"


def _log_once(name: str, device: str) -> None:
    if (name, device) not in _logged:
        _logged.add((name, device))
        logger.info("selective scan on %s runs the %r backend", device, name)
