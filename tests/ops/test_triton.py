"""Triton's kernels: on a GPU where there is one, else in Triton's interpreter, and compiled for GPUs that are not here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medmamba_monai.ops import available_backends
from medmamba_monai.ops.backends import triton as backend

CASES = Path(__file__).with_name("triton_cases.py")
HAS_TRITON = importlib.util.find_spec("triton") is not None

if available_backends()["triton"] is None:
    pytest.register_assert_rewrite("tests.ops.triton_cases")
    from tests.ops.triton_cases import *  # noqa: F403
else:

    @pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed: pip install triton (Linux)")
    def test_in_the_interpreter(root: Path) -> None:
        """Triton reads the variable when it is first imported, so a process of its own runs the cases."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(CASES)]
        environment = os.environ | {"TRITON_INTERPRET": "1"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        assert " passed" in done.stdout
