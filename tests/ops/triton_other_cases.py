"""Triton's kernels of the convolution and of Mamba-2 against plain torch; `test_triton.py` runs these too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medmamba_monai.ops import (
    causal_conv1d,
    scalar_decay_scan,
)
from medmamba_monai.ops.backends import triton_dual
from medmamba_monai.ops.backends.triton_convolution import triton_causal_conv1d
from medmamba_monai.ops.backends.triton_dual import triton_dual_scan
from tests.ops.cases import assert_close, error, gradients
from tests.ops.triton_cases import DEVICE, GRADIENT, OUTPUT, quick_interpreter  # noqa: F401


@pytest.mark.parametrize("length, taps", [(1, 4), (16, 2), (18, 4)])
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("last", ["time", "channels"])
def test_convolution(length: int, taps: int, activation: str | None, last: str) -> None:
    x = torch.randn(2, 5, length) if last == "time" else torch.randn(2, length, 5).transpose(1, 2)
    arguments = {"x": x, "weight": torch.randn(5, taps), "bias": None if taps == 2 else torch.randn(5)}

    def kernel(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight, bias = (None if t is None else t.to(DEVICE) for t in (x, weight, bias))
        y: Tensor = triton_causal_conv1d(x, weight, bias, activation is not None)
        assert y.is_contiguous()
        return y.cpu()

    wanted = gradients(lambda **t: causal_conv1d(**t, activation=activation), arguments, torch.float64)
    assert_close(gradients(kernel, arguments, torch.float32), wanted, 1e-6, 2e-6)
    if last == "time" and activation and taps == 2:
        halves = {name: None if t is None else t.bfloat16() for name, t in arguments.items()}
        wanted = gradients(lambda **t: causal_conv1d(**t, activation=activation), halves, torch.float64)
        assert_close(gradients(kernel, halves, torch.bfloat16), wanted, 0.008, 0.016)


def dual_inputs(length: int, groups: int, width: int = 3, states: int = 5, **other: Tensor | None) -> dict[str, Tensor]:
    """Arguments of Mamba-2's scan by name."""
    given = {
        "x": torch.randn(2, length, 4, width),
        "log_decay": -2 * torch.rand(2, length, 4),
        "B": torch.randn(2, length, groups, states),
        "C": torch.randn(2, length, groups, states),
        "initial": torch.randn(2, 4, width, states),
    }
    return {name: x for name, x in (given | other).items() if x is not None}


def dual(**tensors: Tensor) -> tuple[Tensor, ...]:
    """Mamba-2's scan by Triton's kernels."""
    moved = {name: x.to(DEVICE) for name, x in tensors.items()}
    y, last, _ = triton_dual_scan(**({"initial": None} | moved))
    return y.cpu(), last.cpu()


def plain_dual(initial: Tensor | None = None, **tensors: Tensor) -> tuple[Tensor, Tensor]:
    return scalar_decay_scan(**tensors, initial_state=initial)


@pytest.mark.parametrize("length, groups", [(1, 4), (16, 2), (37, 1)])
def test_dual_scan(length: int, groups: int) -> None:
    given = dual_inputs(length, groups)
    wanted = gradients(plain_dual, given, torch.float64)
    assert_close(gradients(dual, given, torch.float32), wanted, OUTPUT, GRADIENT)


def test_dual_scan_from_zero_with_mixed_decays_wide_tiles_and_strides() -> None:
    decays = -torch.tensor([1e-4, 30.0, 1e-3, 5.0]).repeat(2, 40, 4, 1).flatten(2)[..., 3:7]
    given = dual_inputs(40, 2, 17, 20, initial=None, log_decay=decays, x=torch.randn(17, 4, 40, 2).permute(3, 2, 1, 0))
    wanted = gradients(plain_dual, given, torch.float64)
    assert_close(gradients(dual, given, torch.float32), wanted, OUTPUT, GRADIENT)


def test_dual_scan_in_half_precision() -> None:
    given = {name: x.bfloat16() for name, x in dual_inputs(20, 2).items()}
    wanted = gradients(plain_dual, given, torch.float64)
    found = gradients(dual, given, torch.bfloat16)
    assert found["output 0"].dtype == torch.float32
    assert_close(found, wanted, 0.004, 0.016)


def test_dual_scan_is_a_sound_operator() -> None:
    given = [x.to(DEVICE).requires_grad_() for x in dual_inputs(5, 2).values()]
    torch.library.opcheck(triton_dual_scan, tuple(given))
    torch.library.opcheck(triton_dual_scan, (*given[:4], None), test_utils="test_faketensor")


@pytest.mark.skipif(DEVICE == "cpu", reason="the kernels serve tensors on a GPU only")
def test_mamba2_takes_the_kernels_on_a_gpu() -> None:
    given = {name: x.to(DEVICE) for name, x in dual_inputs(37, 2, initial=None).items()}
    assert triton_dual.serves(given["x"], given["B"])
    y, last = scalar_decay_scan(**given)
    wanted = plain_dual(**{name: x.cpu() for name, x in given.items()})
    assert error(y.cpu(), wanted[0]) < OUTPUT and error(last.cpu(), wanted[1]) < OUTPUT
