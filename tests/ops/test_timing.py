"""The choice between GPU scans by their times."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from medmamba_monai.ops.backends import chunked, reference, timing

CANDIDATES = {"triton": chunked, "mamba_ssm": reference}


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_winners", {})


def test_the_faster_one_wins_and_is_timed_once_a_class_of_shapes() -> None:
    asked: list[timing.Shape] = []

    def timed(backend: ModuleType, shape: timing.Shape) -> float:
        asked.append(shape)
        return 2.0 if (backend is chunked) == (shape.steps > 64) else 1.0

    def choice(*shape: int) -> str:
        return timing.fastest(CANDIDATES, torch.zeros(shape), timed)

    assert choice(2, 3, 100) == "mamba_ssm"
    assert choice(1, 7, 120) == "mamba_ssm" and len(asked) == 2
    assert choice(2, 3, 50) == "triton" and len(asked) == 4
    with torch.no_grad():
        choice(2, 3, 100)
    assert len(asked) == 6


def test_a_single_candidate_is_not_timed() -> None:
    assert timing.fastest({"triton": chunked}, torch.zeros(1, 2, 3)) == "triton"


@pytest.mark.parametrize("trains", [True, False])
def test_trials_fit_the_backends_and_draw_no_random_numbers_of_the_caller(trains: bool) -> None:
    before = torch.get_rng_state()
    with torch.set_grad_enabled(trains):
        shape = timing.shape_class(torch.zeros(1, 3, 5, dtype=torch.bfloat16))
    arguments = timing.trial(shape)
    assert torch.equal(torch.get_rng_state(), before)
    y, _ = chunked.scan(*arguments, None, None, None, True)
    assert y.shape == (1, 4, 8) and y.dtype == torch.bfloat16 and y.requires_grad == trains
    if trains:
        assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), arguments))


def test_trials_stay_small() -> None:
    shape = timing.shape_class(torch.zeros(1, device="meta").expand(64, 4096, 4096))
    assert shape.sequences * shape.steps == 2**24


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_times_on_a_gpu() -> None:
    from medmamba_monai.ops.backends import triton

    shape = timing.shape_class(torch.zeros(1, 64, 256, device="cuda"))
    assert timing.milliseconds(triton, shape) > 0
