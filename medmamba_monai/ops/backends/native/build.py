"""Compile the scan's library: `python -m medmamba_monai.ops.backends.native.build` in a source checkout.

Only the standard library is used, so that setup.py can run this file before torch is there.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "selective_scan.cpp"
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma")


def library_name() -> str:
    """File name of the library on this system."""
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    return f"medmamba_scan{suffix}"


def build(folder: Path) -> Path:
    """Compile the library into a folder and return its path.

    Raises:
        RuntimeError: when there is no compiler, or when it fails; the message holds its words.
    """
    compiler = find_compiler()
    if compiler is None:
        raise RuntimeError("no C++ compiler found: install g++ or clang++, or name one in the variable CXX")
    target = folder / library_name()
    with tempfile.TemporaryDirectory() as scratch:
        make = _build_msvc if Path(compiler[0]).stem.lower() == "cl" else _build_unix
        built = make(compiler, Path(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: a process that has the old file open keeps it whole.
        fresh = target.with_suffix(".tmp")
        shutil.copyfile(built, fresh)
        os.replace(fresh, target)
    return target


def find_compiler() -> list[str] | None:
    """The command of a C++ compiler: CXX, else the first of the usual names."""
    named = os.environ.get("CXX", "").split()
    candidates = [named] if named else [[name] for name in ("c++", "g++", "clang++", "cl")]
    return next((words for words in candidates if shutil.which(words[0])), None)


def variants() -> list[tuple[str, int, tuple[str, ...], str]]:
    """Name, lanes, GCC or Clang flags and MSVC flag of every copy of the kernel for this kind of processor."""
    chosen: list[tuple[str, int, tuple[str, ...], str]] = [("portable", 4, (), "")]
    if platform.machine().lower() in ("x86_64", "amd64"):
        chosen += [
            ("avx2", 8, _AVX2, "/arch:AVX2"),
            ("avx2_wide", 16, _AVX2, "/arch:AVX2"),
            ("avx512", 16, (*_AVX512, "-mprefer-vector-width=512"), "/arch:AVX512"),
        ]
    return chosen


def _build_unix(compiler: list[str], scratch: Path) -> Path:
    shared = [
        *compiler,
        "-std=c++17",
        "-O3",
        "-fvisibility=hidden",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-exceptions",
        "-fno-rtti",
        "-Wno-psabi",
        "-Wno-unknown-warning-option",
    ]
    if sys.platform != "win32":
        shared.append("-fPIC")
    objects = []
    for name, lanes, flags, _ in variants():
        objects.append(str(scratch / f"{name}.o"))
        _run([*shared, f"-DSCAN_VARIANT={name}", f"-DSCAN_LANES={lanes}", *flags, "-c", str(SOURCE), "-o", objects[-1]])
    objects.append(str(scratch / "dispatch.o"))
    _run([*shared, "-c", str(SOURCE), "-o", objects[-1]])
    target = scratch / library_name()
    strip = [] if sys.platform == "darwin" else ["-s"]
    _run([*compiler, "-shared", *strip, *objects, "-o", str(target)])
    return target


def _build_msvc(compiler: list[str], scratch: Path) -> Path:
    shared = [*compiler, "/nologo", "/std:c++17", "/O2", "/GR-", "/openmp"]
    objects = []
    for name, lanes, _, flag in variants():
        objects.append(str(scratch / f"{name}.obj"))
        _run(
            [
                *shared,
                f"/DSCAN_VARIANT={name}",
                f"/DSCAN_LANES={lanes}",
                *([flag] if flag else []),
                "/c",
                str(SOURCE),
                f"/Fo{objects[-1]}",
            ]
        )
    objects.append(str(scratch / "dispatch.obj"))
    _run([*shared, "/c", str(SOURCE), f"/Fo{objects[-1]}"])
    target = scratch / library_name()
    _run([*compiler, "/nologo", "/LD", *objects, f"/Fe{target}", "/openmp"])
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-2000:]
        raise RuntimeError(f"the compiler failed: {' '.join(command)}\n{words}")


def main() -> int:
    """Build in place and say where; return the exit code."""
    try:
        print(f"built {build(SOURCE.parent)}")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
