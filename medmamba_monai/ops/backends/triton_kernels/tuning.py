"""The choice of warps: timed once for each class of shapes on a GPU and kept on disk, fixed in the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import triton

INTERPRETED: bool = triton.knobs.runtime.interpret
_WARPS = (4,) if INTERPRETED else (1, 2, 4, 8)


def tuned(kernel: Any, key: Sequence[str]) -> Any:
    """Let Triton pick the number of warps of a kernel anew whenever one of the arguments in `key`, or a dtype, changes.

    No kernel adds to what is there already, so running one several times does no harm.
    """
    configs = [triton.Config({}, num_warps=warps) for warps in _WARPS]
    return triton.autotune(configs, key=list(key), cache_results=True)(kernel)
