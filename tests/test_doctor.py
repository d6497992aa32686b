"""The doctor: true on this machine, and useful on broken ones."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from typing import Any

import monai
import pytest
import torch

from medmamba_monai import doctor
from medmamba_monai.extras import EXTRAS
from medmamba_monai.ops import available_backends


def test_json_tells_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["monai"] == monai.__version__
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["backends"] == available_backends()
    assert facts["threads"] == torch.get_num_threads()
    assert facts["problems"] == []


def test_features_agree_with_torch() -> None:
    seen = torch.backends.cpu.get_cpu_capability()
    features = doctor.cpu()["features"]
    if seen in ("AVX2", "AVX512"):
        assert {"avx2", "fma"} <= set(features)
    assert ("avx512f" in features) or seen != "AVX512"


def test_text_gives_each_backend_with_its_reason() -> None:
    facts = doctor.collect()
    facts["backends"] = {"chunked": None, "warp": "no warp drive here"}
    lines = doctor.report(facts).splitlines()
    assert "  chunked        runs" in lines
    assert "  warp           off: no warp drive here" in lines


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_is_tried_and_its_place_told() -> None:
    command = [sys.executable, "-m", "medmamba_monai", "doctor"]
    interpreted = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=interpreted, capture_output=True, text=True, check=True)
    assert f"triton         runs (triton {doctor._version('triton')}, in its interpreter, on the CPU)" in done.stdout


def test_triton_that_computes_nonsense_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, backend: str, **__: object) -> torch.Tensor:
        if backend == "triton":
            raise RuntimeError("ptxas is missing")
        return torch.zeros(1)

    monkeypatch.setattr("medmamba_monai.ops.available_backends", lambda: {"triton": None})
    monkeypatch.setattr("medmamba_monai.ops.selective_scan", fail)
    monkeypatch.setattr("medmamba_monai.ops.backends.triton.interpreted", lambda: True)
    assert any("fails (ptxas is missing)" in line for line in doctor.collect()["problems"])


@pytest.mark.parametrize(
    ("package", "version", "said"),
    [
        ("torch", None, "torch is not installed: pip install 'torch>=2.8'"),
        ("torch", "2.7.1+cpu", "torch 2.7.1+cpu is older than 2.8"),
        ("monai", "1.4.0", "monai 1.4.0 is older than 1.5"),
    ],
)
def test_broken_environment_exits_with_1(
    package: str, version: str | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: version if name == package else real(name))
    assert doctor.main([]) == 1
    text = capsys.readouterr().out
    assert said in text
    assert "something must be mended first" in text


def test_torch_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(facts: dict[str, Any]) -> None:
        raise OSError("libtorch.so is damaged")

    monkeypatch.setattr(doctor, "_ask_torch", fail)
    facts = doctor.collect()
    assert any("libtorch.so is damaged" in line for line in facts["problems"])
    assert "none: torch does not load" in doctor.report(facts)


def test_missing_packages_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "onnx" else "9.9")
    text = doctor.report(doctor.collect())
    assert "onnx           not installed, extra [export]" in text
    assert 'extra [export] is not complete: pip install "medmamba-monai[export]"' in text


def test_advice_for_a_missing_native_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medmamba_monai.ops.available_backends", lambda: {"chunked": None, "native": "not there"})
    monkeypatch.setattr(doctor, "compiler", lambda: None)
    assert any("install a C++ compiler" in line for line in doctor.collect()["advice"])


def test_cuda_extra_is_advised_only_with_an_nvidia_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = doctor.collect() | {"optional": dict.fromkeys(EXTRAS)}
    assert not any("[cuda]" in line for line in doctor._advice(facts | {"gpu": None}))
    assert any("[cuda]" in line for line in doctor._advice(facts | {"gpu": "X, CUDA 13.0"}))


def test_compiler_obeys_cxx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    assert doctor.compiler() is None
