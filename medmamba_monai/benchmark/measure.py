"""Times and memory of calls, the machine they ran on, and a table of them."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medmamba_monai.ops import available_backends

Call = Callable[[], object]
# what the name of a network timed with the step by step scan ends with
REFERENCE = ", reference scan"


@dataclass
class Row:
    """One line of a table; times in milliseconds, memory in megabytes; None: not measured, with the reason."""

    case: str
    name: str
    forward: float | None = None
    training: float | None = None
    memory: float | None = None
    training_memory: float | None = None
    parameters: int | None = None
    refused: str | None = None


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on."""
    from medmamba_monai.doctor import cpu

    facts: dict[str, Any] = {"cpu": cpu().get("name", ""), "system": platform.platform(), "torch": torch.__version__}
    facts |= {"python": platform.python_version(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    if available_backends()["native"] is None:
        from medmamba_monai.ops.backends.native.library import instruction_set

        facts["instruction_set"] = instruction_set()
    return facts


def best(calls: Sequence[Call], repeats: int) -> list[float]:
    """Best time of each call in milliseconds, taken in turns so that all meet the same machine."""
    times = [float("inf")] * len(calls)
    for turn in range(repeats + 1):
        for i, call in enumerate(calls):
            # One round warms up; what needs seconds is not repeated.
            if turn > 1 and times[i] > 3000:
                continue
            start = time.perf_counter()
            call()
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            if turn:
                times[i] = min(times[i], 1000 * (time.perf_counter() - start))
    return times


def extra_memory(call: Call, device: torch.device | None = None) -> float | None:
    """Growth of the memory in use at its peak during the call, in megabytes; None where the system does not tell."""
    kind = "cpu" if device is None else device.type
    if kind == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if kind != "cpu":
        return None
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        # Memory that earlier calls left in the heap would hide what this one takes.
        ctypes.CDLL(None).malloc_trim(0)
        reset.write_text("5")
        resident = _status(status, "VmRSS")
        call()
        return max(0.0, (_status(status, "VmHWM") - resident) / 1024)
    except (OSError, KeyError, AttributeError):
        return None


def _status(path: Path, key: str) -> int:
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines[key].split()[0])


def table(rows: Sequence[Row], base: str) -> str:
    """Rows as text, each with its ratios to the row named `base` of the same case and to the reference backend."""
    names = (("case", "name"), *((row.case, row.name) for row in rows))
    first, second = (max(map(len, column)) + 2 for column in zip(*names, strict=True))
    lines = [f"{'case':<{first}}{'name':<{second}}{'forward ms':>12}{'training ms':>13}{'extra MB':>10}"
             f"{'training MB':>13}{'M params':>10}{'  forward x ' + base:>26}{'  training x':>13}"
             f"{'  x reference':>13}"]  # fmt: skip
    for row in rows:
        if row.refused:
            lines.append(f"{row.case:<{first}}{row.name:<{second}}  {row.refused}")
            continue
        line = f"{row.case:<{first}}{row.name:<{second}}{_number(row.forward):>12}{_number(row.training):>13}"
        line += f"{_number(row.memory):>10}{_number(row.training_memory):>13}"
        line += f"{_number(row.parameters and row.parameters / 1e6):>10}"
        slow = ("reference", row.name + REFERENCE)
        for bases, part, width in (((base,), "forward", 26), ((base,), "training", 13), (slow, "forward", 13)):
            other = next((r for r in rows if r.case == row.case and r.name in bases and not r.refused), None)
            ours, theirs = getattr(row, part), getattr(other, part, None)
            line += f"{_number(theirs / ours if ours and theirs else None):>{width}}"
        lines.append(line)
    return "\n".join(lines)


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}"
