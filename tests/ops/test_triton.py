"""Triton's kernels: run on a GPU, or else in Triton's interpreter, and compiled for GPUs that are not here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medmamba_monai.ops import available_backends
from medmamba_monai.ops.backends.triton import interpreted

CASES = [str(Path(__file__).with_name(name)) for name in ("triton_cases.py", "triton_other_cases.py")]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed: pip install triton (Linux)"
)

if available_backends()["triton"] is None:
    pytest.register_assert_rewrite("tests.ops.triton_cases", "tests.ops.triton_other_cases")
    from tests.ops.triton_cases import *  # noqa: F403
    from tests.ops.triton_other_cases import *  # noqa: F403
else:

    @needs_triton
    def test_in_the_interpreter(root: Path) -> None:
        """Triton reads the variable when it is first imported, so a process of its own runs the cases."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CASES]
        environment = os.environ | {"TRITON_INTERPRET": "1"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        assert " passed" in done.stdout


SCAN = {"SOFTPLUS": True, "TILE": 64, "STATES": 16}
DUAL = {"CHUNK": 32, "WIDTH": 64, "STATES": 64}
CONVOLUTION = {"TAPS": 4, "SILU": True, "LANES": 16, "TILE": 64}
INTEGERS = "paths channels states length block batches lanes lanes_forward tiles heads shared width chunks size".split()

HALVES = "value delta maps gate u B C z y dy du ddelta dz x dx".split()


def compiled(kernel: Any, constants: dict[str, Any], target: Any) -> dict[str, Any]:
    """Machine code of a kernel in all its forms: sequences in bfloat16, their steps side by side."""
    from triton.compiler import ASTSource, compile

    signature: dict[str, Any] = {}
    values: dict[tuple[int, ...], Any] = {}
    for i, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name], values[i,] = "constexpr", constants[name]
        elif name.endswith("strides"):
            axes = 3 if "LANES" in constants else 4 if "CHUNK" in constants else 5
            signature[name], values[i, axes - 1] = ("i64",) * (axes - 1) + ("constexpr",), 1
        else:
            signature[name] = "i32" if name in INTEGERS else "*bf16" if name in HALVES else "*fp32"
    return dict(compile(ASTSource(kernel, signature, values), target, {"enable_fp_fusion": True}).asm)


@needs_triton
@pytest.mark.skipif(interpreted(), reason="the interpreter does not compile")
@pytest.mark.parametrize("kind, architecture, warp, code", [("cuda", 90, 32, "cubin"), ("hip", "gfx942", 64, "hsaco")])
def test_kernels_compile(
    kind: str, architecture: int | str, warp: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton import knobs
    from triton.backends.compiler import GPUTarget

    from medmamba_monai.ops.backends.triton_kernels import backward, convolution, dual, forward

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    target = GPUTarget(kind, architecture, warp)
    dual_job = DUAL | {"PRECISION": "tf32x3" if kind == "cuda" else "ieee"}
    for kernel, constants in (
        (forward.tile_ends, SCAN | {"ADJOINT": True, "DIRECTIONS": 1}),
        (forward.join_tiles, {"ADJOINT": False, "TILES": 64, "STATES": 16, "entering": None}),
        (forward.tile_outputs, SCAN | {"DIRECTIONS": 2, "z": None}),
        (backward.tile_gradients, SCAN | {"DIRECTIONS": 1}),
        (dual.chunk_ends, dual_job | {"ADJOINT": True}),
        (dual.join_chunks, {"ADJOINT": False, "BLOCK": 1024}),
        (dual.chunk_outputs, dual_job),
        (dual.chunk_input_gradients, dual_job),
        (dual.chunk_map_gradients, dual_job),
        (convolution.convolve, CONVOLUTION),
        (convolution.convolve_backward, CONVOLUTION),
    ):
        made = compiled(kernel, constants, target)
        assert made[code], kernel
        # The matrices of Mamba-2's kernels spill in float32, see docs/backends.md.
        if kind == "cuda" and "CHUNK" not in constants:
            (tmp_path / "kernel.cubin").write_bytes(made[code])
            command = [knobs.nvidia.cuobjdump.path, "-res-usage", str(tmp_path / "kernel.cubin")]
            usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert "STACK:0 " in usage, f"{kernel} needs more registers than a thread has: {usage}"
