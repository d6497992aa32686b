"""``python -m medmamba_monai doctor``: what runs on this machine, what does not and why, and what to install."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from medmamba_monai import __version__
from medmamba_monai.extras import EXTRAS, install_command

OLDEST_TORCH = (2, 8)
OLDEST_MONAI = (1, 5)
SIMD = ("avx512f", "avx2", "fma", "neon")


def main(argv: Sequence[str]) -> int:
    """Print the report; return 0 when a network can run here, 1 when it cannot."""
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts and bug reports")
    options = parser.parse_args(argv)
    facts = collect()
    print(json.dumps(facts, indent=2) if options.json else report(facts))
    return 0 if not facts["problems"] else 1


def collect() -> dict[str, Any]:
    """Gather every fact about this machine that decides what runs, as plain JSON values.

    Example:
        >>> facts = collect()
        >>> sorted(facts)  # doctest: +NORMALIZE_WHITESPACE
        ['advice', 'backends', 'compiler', 'cpu', 'gpu', 'instruction_set', 'optional', 'problems', 'system',
         'threads', 'triton', 'versions']
    """
    facts: dict[str, Any] = {
        "versions": {"medmamba_monai": __version__, "python": platform.python_version()}
        | {name: _version(name) for name in ("torch", "monai", "numpy")},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu(),
        "compiler": compiler(),
        "optional": {module: _version(package) for module, (package, _) in EXTRAS.items()},
        "threads": None,
        "gpu": None,
        "backends": {},
        "instruction_set": None,
        "triton": None,
    }
    facts["problems"] = _problems(facts["versions"])
    if importlib.util.find_spec("torch"):
        try:
            _ask_torch(facts)
        except (ImportError, OSError) as error:
            facts["problems"].append(f"torch is installed but does not load ({error}): install it again")
    facts["advice"] = _advice(facts)
    return facts


def cpu() -> dict[str, Any]:
    """Name, core count and vector instructions of the processor; unknown names stay empty."""
    return {"name": _cpu_name(), "cores": os.cpu_count(), "features": _cpu_features()}


def compiler() -> str | None:
    """Path of the C++ compiler that a source install would use, or None."""
    named = os.environ.get("CXX", "").split()
    candidates = named[:1] or ["c++", "g++", "clang++", "cl"]
    return next((found for found in map(shutil.which, candidates) if found), None)


def report(facts: dict[str, Any]) -> str:
    """Write the facts of :func:`collect` as text."""
    lines = ["medmamba_monai doctor", ""]
    lines += [f"  {name:<15}{version or 'not installed'}" for name, version in facts["versions"].items()]
    chip = facts["cpu"]
    vectors = ", ".join(chip["features"]) or "none known"
    lines += [
        f"  {'system':<15}{facts['system']}",
        f"  {'processor':<15}{chip['name'] or 'unknown'}, {chip['cores']} cores, vector instructions: {vectors}",
        f"  {'torch threads':<15}{facts['threads'] or 'unknown'}",
        f"  {'C++ compiler':<15}{facts['compiler'] or 'none (not needed; builds the native scan in a source install)'}",
        f"  {'GPU':<15}{facts['gpu'] or 'none that torch can use'}",
        "",
        "Scan backends",
    ]
    for name, reason in facts["backends"].items():
        note = {"native": facts["instruction_set"], "triton": facts["triton"]}.get(name)
        runs = f"runs ({note})" if note else "runs"
        lines.append(f"  {name:<15}{runs if reason is None else 'off: ' + reason}")
    if not facts["backends"]:
        lines.append("  none: torch does not load")
    lines += ["", "Optional packages"]
    lines += [
        f"  {module:<15}{version or f'not installed, extra [{EXTRAS[module][1]}]'}"
        for module, version in facts["optional"].items()
    ]
    for title, key in (("Problems", "problems"), ("For more", "advice")):
        if facts[key]:
            lines += ["", title, *(f"  - {line}" for line in facts[key])]
    lines += ["", "Result: " + ("something must be mended first" if facts["problems"] else "networks run here")]
    return "\n".join(lines)


def _ask_torch(facts: dict[str, Any]) -> None:
    import torch

    from medmamba_monai.ops import available_backends

    facts["threads"] = torch.get_num_threads()
    if torch.cuda.is_available():
        facts["gpu"] = f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
    elif torch.backends.mps.is_available():
        facts["gpu"] = "Apple GPU (mps)"
    facts["backends"] = available_backends()
    if facts["backends"].get("native", "") is None:
        from medmamba_monai.ops.backends.native.library import instruction_set

        facts["instruction_set"] = instruction_set()
    if facts["backends"].get("triton", "") is None:
        _try_triton(facts)


def _try_triton(facts: dict[str, Any]) -> None:
    """Run a small scan with Triton's kernels, because compiling them can fail where everything is installed."""
    import torch

    from medmamba_monai.ops import selective_scan
    from medmamba_monai.ops.backends.triton import interpreted

    place, device = ("in its interpreter, on the CPU", "cpu") if interpreted() else ("on the GPU", "cuda")
    facts["triton"] = f"triton {_version('triton')}, {place}"
    x = torch.linspace(-1, 1, 40, device=device).view(1, 1, 40)
    try:
        found, wanted = (
            selective_scan(x, x, -torch.ones_like(x[0, :, :1]), x, x, delta_softplus=True, backend=name)
            for name in ("triton", "reference")
        )
        torch.testing.assert_close(found, wanted)
    except Exception as error:  # the compiler's errors have no common class
        facts["problems"].append(f"the scan in Triton fails ({error}): run with backend='chunked', and report it")


def _problems(versions: dict[str, str | None]) -> list[str]:
    found = []
    for name, oldest in (("torch", OLDEST_TORCH), ("monai", OLDEST_MONAI)):
        version, least = versions[name], ".".join(map(str, oldest))
        if version is None:
            found.append(f"{name} is not installed: pip install '{name}>={least}'")
        elif _numbers(version) < oldest:
            found.append(f"{name} {version} is older than {least}: pip install --upgrade '{name}>={least}'")
    return found


def _advice(facts: dict[str, Any]) -> list[str]:
    lines = []
    if facts["backends"].get("native", "") is not None:
        lines.append(
            "the native scan is off, networks run slower on the CPU: "
            + ("install again from source" if facts["compiler"] else "install a C++ compiler, then again from source")
            + " (docs/install.md)"
        )
    extras = sorted({extra for module, (_, extra) in EXTRAS.items() if facts["optional"][module] is None})
    has_cuda = bool(facts["gpu"]) and "CUDA" in facts["gpu"]
    for extra in extras:
        if extra != "cuda" or has_cuda:
            lines.append(f"extra [{extra}] is not complete: {install_command(extra)}")
    return lines


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())


def _cpu_name() -> str:
    if sys.platform == "darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"])
    return _proc_cpuinfo("model name") or platform.processor()


def _cpu_features() -> list[str]:
    if platform.machine().lower() in ("arm64", "aarch64"):
        return ["neon"]  # part of every 64-bit ARM processor
    if sys.platform == "darwin":
        leaves = _output(["sysctl", "-n", "machdep.cpu.features", "machdep.cpu.leaf7_features"]).lower().split()
    else:
        leaves = _proc_cpuinfo("flags").split()
    found = [name for name in SIMD if name in leaves]
    return found or _features_seen_by_torch()


def _features_seen_by_torch() -> list[str]:
    """Windows tells no flags; torch has asked the processor itself."""
    try:
        from torch.backends.cpu import get_cpu_capability
    except (ImportError, OSError):
        return []
    return {"AVX512": ["avx512f", "avx2", "fma"], "AVX2": ["avx2", "fma"]}.get(str(get_cpu_capability()), [])


def _proc_cpuinfo(key: str) -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
    except OSError:
        return ""


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
