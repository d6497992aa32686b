"""The implementations of the selective scan and the rule that picks one."""
from __future__ import annotations

import logging
from types import ModuleType

import torch
from torch import Tensor

from medmamba_monai.ops.backends import chunked, native, reference

logger = logging.getLogger(__name__)

BACKENDS: dict[str, ModuleType] = {"reference": reference, "chunked": chunked, "native": native}
_logged: set[tuple[str, str]] = set()


def available_backends() -> dict[str, str | None]:
    """Name every backend of the scan: None when it can run here, else the reason why not.

    Example:
        >>> available_backends()["chunked"] is None
        True
    """
    return {name: module.unavailable() for name, module in BACKENDS.items()}


def choose(backend: str, u: Tensor) -> ModuleType:
    """Return the module that will run: the forced one, or the best one for the device, dtype and tracing state."""
    if backend == "auto":
        name = _automatic(u)
        if not torch.compiler.is_compiling():
            _log_once(name, u.device.type)
        return BACKENDS[name]
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown: use one of {['auto', *BACKENDS]}")
    module = BACKENDS[backend]
    reason: str | None = module.unavailable()
    if reason is not None:
        raise RuntimeError(f"backend {backend!r} cannot run: {reason}; use backend='auto' to take the best one here")
    return module


def _automatic(u: Tensor) -> str:
    if chunked.is_tracing():
        return "chunked"
    if u.device.type == "cpu" and u.dtype != torch.float64 and native.unavailable() is None:
        return "native"
    return "chunked"


def _log_once(name: str, device: str) -> None:
    if (name, device) not in _logged:
        _logged.add((name, device))
        logger.info("selective scan on %s runs the %r backend", device, name)
