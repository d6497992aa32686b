"""The compiled scan inside torch: operator checks, compile, export, threads, forks, memory, instruction sets."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from medmamba_monai.ops import available_backends, grid_selective_scan, selective_scan
from tests.ops.cases import assert_close, error, gradients, inputs

REASON = available_backends()["native"]
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"the compiled scan is off: {REASON}")

if REASON is None:
    from medmamba_monai.ops.backends.native import library
    from medmamba_monai.ops.backends.native.build import variants
    from medmamba_monai.ops.backends.native.grid_scan import grid_scan
    from medmamba_monai.ops.backends.native.path_scan import path_scan


@pytest.fixture
def instruction_set() -> Iterator[None]:
    before = library.instruction_set()
    yield
    library.select(before)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def native(**tensors: Tensor | None) -> tuple[Tensor, Tensor]:
    found = selective_scan(**tensors, delta_softplus=True, return_last_state=True, backend="native")  # type: ignore
    assert isinstance(found, tuple)
    return found


def grid_arguments(rank: int = 3, channels: int = 20, length: int = 70) -> dict[str, Tensor | None]:
    states, grid = 16, (2, 2)
    return {
        "u": torch.randn(2, length, channels),
        "projected": torch.randn(2, length, *grid, rank + 2 * states),
        "dt_weight": torch.randn(*grid, channels, rank) / rank,
        "A": -torch.rand(*grid, channels, states),
        "D": torch.randn(*grid, channels),
        "dt_bias": torch.randn(*grid, channels),
    }


def grid(**tensors: Tensor) -> Tensor:
    length = tensors["u"].shape[1]
    index = torch.stack((torch.arange(length), torch.arange(length).roll(7))).to(torch.int32)
    return grid_selective_scan(**tensors, index=index, backend="native")


@pytest.mark.parametrize("name", ["portable", "avx2", "avx2_wide", "avx512"])
def test_every_instruction_set(instruction_set: None, name: str) -> None:
    """avx2_wide is the code of avx512 on vectors of two halves, so that it is tested where there is no AVX-512."""
    if name not in [variant[0] for variant in variants()]:
        pytest.skip(f"{name} is not compiled for this kind of processor")
    try:
        library.select(name)
    except ValueError:
        pytest.skip(f"this processor has no {name}")
    for length, channels, states, groups in ((1, 3, 1, 1), (63, 20, 16, 2), (64, 8, 5, 1), (200, 33, 17, 1)):
        channels += -channels % groups
        arguments = inputs(length, channels=channels, states=states, groups=groups)
        if length == 200:
            arguments["A"] = -100 * torch.rand(channels, states)  # beyond the fast range of the exponential
        wanted = gradients(
            lambda **x: selective_scan(**x, delta_softplus=True, return_last_state=True, backend="reference"),
            arguments, torch.float64,
        )  # fmt: skip
        assert_close(gradients(native, arguments, torch.float32), wanted, 2e-6, 1e-5)
    arguments = grid_arguments()
    exact = gradients(lambda **x: _reference_grid(**x), arguments, torch.float64)
    assert_close(gradients(grid, arguments, torch.float32), exact, 2e-6, 1e-5)


def _reference_grid(**tensors: Tensor) -> Tensor:
    length = tensors["u"].shape[1]
    index = torch.stack((torch.arange(length), torch.arange(length).roll(7))).to(torch.int32)
    return grid_selective_scan(**tensors, index=index, backend="reference")


def test_unknown_or_missing_instruction_set_is_refused(instruction_set: None) -> None:
    with pytest.raises(ValueError, match="'sparc' cannot run here"):
        library.select("sparc")
    code = "from medmamba_monai.ops import available_backends; print(available_backends()['native'])"
    environment = os.environ | {library.ISA_VARIABLE: "sparc"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "MEDMAMBA_MONAI_ISA=sparc: this processor cannot run it" in done.stdout


def test_opcheck() -> None:
    for length, gate in ((5, True), (70, False)):
        x = inputs(length, channels=6, groups=2, gate=gate)
        u, delta, A, B, C, D, z, bias = (None if t is None else t.unsqueeze(1) for t in x.values())
        assert u is not None and delta is not None and A is not None and B is not None and C is not None
        assert D is not None and bias is not None
        shaped = (
            u.view(2, 2, 3, length), delta.view(2, 1, 2, 3, length), A.view(1, 2, 3, 5), B, C, D.view(1, 2, 3),
            None if z is None else z.view(2, 2, 3, length), bias.view(1, 2, 3),
        )  # fmt: skip
        leaves = [None if t is None else t.detach().requires_grad_(True) for t in shaped]
        torch.library.opcheck(path_scan, (*leaves, True, True))
    tensors = [None if t is None else t.requires_grad_(True) for t in grid_arguments(channels=6, length=9).values()]
    index = torch.arange(9, dtype=torch.int32).expand(2, 9).contiguous()
    torch.library.opcheck(grid_scan, (*tensors, index, True))


def test_a_gradient_that_was_not_announced_is_refused() -> None:
    u = torch.ones(1, 1, 1, 3, requires_grad=True)
    x = torch.ones(1, 1, 1, 1, 3)
    with pytest.raises(RuntimeError, match="save=True"):
        path_scan(u, x, torch.zeros(1, 1, 1, 1), x, x, None, None, None, False, False)


def test_compile_forward_and_backward() -> None:
    arguments = inputs(20, channels=4)
    compiled = torch.compile(native, fullgraph=True, backend="aot_eager")
    assert_close(gradients(compiled, arguments, torch.float32), gradients(native, arguments, torch.float32), 1e-6, 1e-6)
    arguments = grid_arguments(channels=4, length=12)
    compiled = torch.compile(grid, fullgraph=True, backend="aot_eager")
    assert_close(gradients(compiled, arguments, torch.float32), gradients(grid, arguments, torch.float32), 1e-6, 1e-6)


class Net(nn.Module):
    def forward(self, u: Tensor, B: Tensor) -> Tensor:
        A = -torch.ones(u.shape[1], B.shape[1])
        found = selective_scan(u, u, A, B, B, delta_softplus=True)
        assert isinstance(found, Tensor)
        return found


def test_export_holds_for_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch writes its whole trace to this log, which pytest would keep: minutes instead of seconds.
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)
    dynamic = {2: torch.export.Dim.DYNAMIC}
    example = (torch.randn(1, 4, 50), torch.randn(1, 3, 50))
    program = torch.export.export(Net(), example, dynamic_shapes=(dynamic, dynamic))
    assert "medmamba_monai" not in str(program.graph), "an exported graph must not need the compiled library"
    exported = program.module()
    for length in (1, 7, 32, 33, 500):
        u, B = torch.randn(1, 4, length), torch.randn(1, 3, length)
        assert error(exported(u, B), Net()(u, B)) < 2e-6, f"length {length}"


def test_same_result_twice_and_for_any_thread_count(threads: None) -> None:
    arguments, on_grid = inputs(300, batch=1, channels=64, states=4), grid_arguments()
    runs = []
    for count in (1, 2, 2, 3):
        torch.set_num_threads(count)
        runs.append(gradients(native, arguments, torch.float32) | {
            f"{name} of the grid": x for name, x in gradients(grid, on_grid, torch.float32).items()
        })  # fmt: skip
    for run in runs[1:]:
        for name, value in runs[0].items():
            assert torch.equal(run[name], value), name


def test_forked_child_can_scan(threads: None) -> None:
    torch.set_num_threads(2)
    arguments = inputs(200, batch=4, channels=32)
    wanted = native(**arguments)[0]
    child = os.fork()
    if child == 0:
        same = torch.equal(native(**arguments)[0], wanted)
        os._exit(0 if same else 1)
    for _ in range(1200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the forked child hangs in the scan")
    assert os.waitstatus_to_exitcode(status) == 0


def test_no_state_sized_tensor() -> None:
    """The states of all steps would take 128 MB here; the whole process may grow by a tenth of that."""
    code = """
import resource, torch
from medmamba_monai.ops import selective_scan
torch.set_num_threads(1)
def run(length):
    u = torch.randn(1, 64, length, requires_grad=True)
    B = torch.randn(1, 16, length, requires_grad=True)
    y = selective_scan(u, u, -torch.ones(64, 16), B, B, delta_softplus=True, backend="native")
    y.sum().backward()
run(64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(32768)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    if sys.platform != "linux":
        pytest.skip("peak memory is counted in kilobytes on Linux only")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    input_size = 64 * 32768 * 4 / 1024
    # u and its two gradients, y and dy, saved states (a quarter), B, dB and dC with their parts: about seven of u.
    assert int(done.stdout) < 9 * input_size < 16 * input_size


def test_scratch_outlives_a_change_of_size() -> None:
    for states in (1, 16, 200, 3):
        arguments = inputs(65, batch=1, channels=3, states=states)
        wanted = selective_scan(**arguments, delta_softplus=True, backend="chunked")
        found = selective_scan(**arguments, delta_softplus=True, backend="native")
        assert isinstance(found, Tensor) and isinstance(wanted, Tensor)
        assert error(found, wanted) < 2e-6


def test_job_is_the_same_in_both_languages() -> None:
    loaded, _ = library.load()
    assert loaded is not None and loaded.medmamba_job_size() == ctypes.sizeof(library.Job)
