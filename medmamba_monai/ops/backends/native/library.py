"""The compiled library: finding it, choosing its instruction set, calling it."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medmamba_monai.ops.backends.native.build import library_name

ISA_VARIABLE = "MEDMAMBA_MONAI_ISA"

_SIZES = """batch directions paths channels states length rank softplus threads splits merged
    u_batch u_path u_lane u_time delta_batch delta_direction delta_path delta_lane delta_time
    B_batch B_direction B_path B_lane B_time C_batch C_direction C_path C_lane C_time z_batch z_path z_lane
    y_batch y_path y_lane y_time du_batch du_path du_lane du_time
    dB_split dB_batch dB_direction dB_path dB_lane dB_time""".split()
_ADDRESSES = """index u delta dt_weight A B C D bias z y last starts dy dlast
    du ddelta ddt_weight dA dB dC dD dbias dz""".split()


class Job(ctypes.Structure):
    """One call of the scan, field for field the struct of job.h."""

    _fields_ = [(name, ctypes.c_int64) for name in _SIZES] + [(name, ctypes.c_void_p) for name in _ADDRESSES]


def load() -> tuple[ctypes.CDLL | None, str | None]:
    """Return the library, or None and the reason why it cannot be used."""
    return _LOADED


def _load() -> tuple[ctypes.CDLL | None, str | None]:
    path = Path(__file__).parent / library_name()
    if not path.exists():
        return None, (
            "the compiled library is not there: run `python -m medmamba_monai.ops.backends.native.build` "
            "(needs a C++ compiler), or install a wheel that holds it"
        )
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return None, f"the compiled library does not load ({error}): build it again on this machine"
    library.medmamba_selected.restype = ctypes.c_char_p
    library.medmamba_use_threads.argtypes = [ctypes.c_void_p]
    library.medmamba_use_threads.restype = None
    if library.medmamba_job_size() != ctypes.sizeof(Job):
        return None, "the compiled library is of another version: build it again"
    wanted = os.environ.get(ISA_VARIABLE)
    if wanted and library.medmamba_select(wanted.encode()):
        return None, f"{ISA_VARIABLE}={wanted}: this processor cannot run it, or there is no such instruction set"
    library.medmamba_use_threads(_torch_threads())
    return library, None


def _torch_threads() -> int | None:
    """Address of GOMP_parallel in the OpenMP library torch runs on: its threads are shared, not doubled."""
    if sys.platform == "win32":
        return None
    folder = Path(torch.__file__).parent / "lib"
    places: list[str | None] = [None, *sorted(str(p) for p in folder.glob("libgomp*"))]
    for place in places:
        try:
            function = ctypes.CDLL(place).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None


# Loaded with the module, not at first use: torch.compile would try to trace the loading.
_LOADED = _load()


def instruction_set() -> str:
    """Name of the copy of the kernel in use."""
    library, reason = load()
    if library is None:
        raise RuntimeError(reason)
    name: bytes = library.medmamba_selected()
    return name.decode()


def select(name: str) -> None:
    """Use another copy of the kernel; states saved by a forward before must not meet a backward after."""
    library, reason = load()
    if library is None:
        raise RuntimeError(reason)
    if library.medmamba_select(name.encode()):
        raise ValueError(f"instruction set {name!r} cannot run here: this processor lacks it, or the name is unknown")


@functools.cache
def tile() -> int:
    """Steps between two saved states."""
    library, _ = load()
    return 1 if library is None else int(library.medmamba_tile())


def lanes() -> int:
    """Channels the kernel treats at once."""
    library, _ = load()
    return 1 if library is None else int(library.medmamba_lanes())


def call(backward: bool, sizes: dict[str, int], tensors: dict[str, Tensor | None]) -> None:
    """Fill a job and run it; absent sizes are 0, absent tensors null."""
    library, reason = load()
    if library is None:
        raise RuntimeError(reason)
    fields: dict[str, Any] = dict(sizes)
    fields["threads"] = torch.get_num_threads()
    for name, tensor in tensors.items():
        if tensor is not None:
            fields[name] = tensor.data_ptr()
    job = Job(**fields)
    function = library.medmamba_backward if backward else library.medmamba_forward
    if function(ctypes.byref(job)):
        raise MemoryError("the scan found no memory for its scratch: use a smaller batch")
