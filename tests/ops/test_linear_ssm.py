"""Kernels, convolution and scan of linear state-space models against their recurrences, step by step in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medmamba_monai.ops import (
    dense_kernel,
    diagonal_kernel,
    diagonal_scan,
    discretise,
    dplr_system,
    fft_convolution,
)
from tests.ops.cases import assert_close, error, gradients

OUTPUT, GRADIENT = 1e-5, 1e-4
LENGTHS = [1, 2, 7, 63, 64, 65, 300]


def inputs(length: int, channels: int = 3, half: int = 4) -> dict[str, Tensor | None]:
    """A diagonal (and low-rank) system in real numbers, and its input."""
    return {
        "u": torch.randn(2, channels, length),
        "rate": torch.rand(channels, half) + 0.2,
        "frequency": torch.randn(channels, half) * 5,
        "P": torch.randn(channels, half, 2) * 0.3,
        "B": torch.randn(channels, half, 2),
        "C": torch.randn(channels, half, 2),
        "log_step": torch.randn(channels) - 2,
    }


def recurrence(A: Tensor, B: Tensor, C: Tensor, u: Tensor) -> Tensor:
    """h_t = A h_(t-1) + B u_t, y_t = Re(C h_t) with dense maps (H, N, N), (H, N), (H, N)."""
    h = torch.zeros(u.shape[0], *B.shape, dtype=B.dtype)
    outputs = []
    for t in range(u.shape[-1]):
        h = torch.einsum("hmn,bhn->bhm", A, h) + B * u[..., t, None]
        outputs.append((C * h).sum(-1).real)
    return torch.stack(outputs, -1)


def stepwise(
    u: Tensor, rate: Tensor, frequency: Tensor, P: Tensor, B: Tensor, C: Tensor, log_step: Tensor, rule: str
) -> Tensor:
    """The full complex system, each state beside its conjugate, discretised by dense matrix functions."""
    P, B, C = (torch.view_as_complex(x) for x in (P, B, C))
    Lambda = torch.complex(-rate, frequency)
    P, B, C, Lambda = (torch.cat((x, x.conj()), -1) for x in (P, B, C, Lambda))
    step = log_step.exp()[:, None, None]
    A, one = torch.diag_embed(Lambda), torch.eye(Lambda.shape[-1], dtype=Lambda.dtype)
    if rule == "dplr":
        A = A - P.unsqueeze(-1) * P.conj().unsqueeze(-2)
    if rule == "zoh":
        A_bar = torch.matrix_exp(step * A)
        B_bar = torch.linalg.solve(A, (A_bar - one) @ B.unsqueeze(-1))
    else:
        inverse = torch.linalg.inv(one - step / 2 * A)
        A_bar, B_bar = inverse @ (one + step / 2 * A), inverse @ (step * B.unsqueeze(-1))
    return recurrence(A_bar, B_bar.squeeze(-1), C, u)


def ours(
    u: Tensor, rate: Tensor, frequency: Tensor, P: Tensor, B: Tensor, C: Tensor, log_step: Tensor, rule: str
) -> Tensor:
    P, B, C = (torch.view_as_complex(x) for x in (P, B, C))
    Lambda = torch.complex(-rate, frequency)
    if rule == "dplr":
        kernel = dense_kernel(*dplr_system(Lambda, P, B, C, log_step.exp()), u.shape[-1]).to(u.dtype)
    else:
        log_decay, factor = discretise(Lambda, log_step.exp().unsqueeze(-1), rule)
        kernel = diagonal_kernel(log_decay, (2 * factor * B * C).to(B.dtype), u.shape[-1])
    return fft_convolution(u, kernel)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("rule", ["zoh", "bilinear", "dplr"])
def test_kernels_are_their_recurrence(rule: str, length: int) -> None:
    arguments = inputs(length)
    if rule != "dplr":
        arguments.pop("P")
    none = {} if rule == "dplr" else {"P": torch.zeros(3, 4, 2).double()}
    wanted = gradients(lambda **t: stepwise(**t, **none, rule=rule), arguments, torch.float64)
    found = gradients(lambda **t: ours(**t, **none, rule=rule), arguments, torch.float32)
    assert_close(found, wanted, OUTPUT, GRADIENT)


def test_phases_of_thousands_of_radians() -> None:
    log_decay = torch.complex(torch.tensor([[-1e-4]]), torch.tensor([[0.7]])).to(torch.complex128)
    C = torch.ones(1, 1, dtype=torch.complex64)
    place = torch.arange(20000, dtype=torch.float64)
    wanted = torch.exp(log_decay.real * place) * torch.cos(log_decay.imag * place)
    assert error(diagonal_kernel(log_decay, C, 20000), wanted) < 1e-6


def test_decay_of_real_states() -> None:
    log_decay, factor = discretise(torch.tensor([-2.0, -0.5]), torch.tensor([3.0, 1e-6]), "bilinear")
    torch.testing.assert_close(log_decay.exp().real, torch.tensor([-0.5, 1 - 5e-7]).double())
    torch.testing.assert_close(factor.real, torch.tensor([0.75, 1e-6]).double(), rtol=1e-6, atol=0)
    small = discretise(torch.tensor([-0.5]), torch.tensor([1e-9]))[1]
    assert math.isclose(small.real.item(), 1e-9, rel_tol=1e-6)


@pytest.mark.parametrize("length", [*LENGTHS, 1100])
@pytest.mark.parametrize("started", [False, True])
def test_scan_is_its_recurrence(length: int, started: bool) -> None:
    pairs: dict[str, Tensor | None] = {
        "x": torch.randn(5, 2, length, 2),
        "log_decay": torch.stack((-torch.rand(5) * 0.2, torch.randn(5)), -1),
        "start": torch.randn(5, 2, 2) if started else None,
    }

    def loop(x: Tensor, log_decay: Tensor, start: Tensor | None) -> Tensor:
        x, decay = torch.view_as_complex(x), torch.exp(torch.view_as_complex(log_decay))[:, None]
        h = torch.zeros_like(x[..., 0]) if start is None else torch.view_as_complex(start)
        states = []
        for t in range(x.shape[-1]):
            h = decay * h + x[..., t]
            states.append(torch.view_as_real(h))
        return torch.stack(states, 2)

    def chunked(x: Tensor, log_decay: Tensor, start: Tensor | None) -> Tensor:
        first = None if start is None else torch.view_as_complex(start)
        return torch.view_as_real(diagonal_scan(torch.view_as_complex(x), torch.view_as_complex(log_decay), first))

    wanted = gradients(loop, pairs, torch.float64)
    assert_close(gradients(chunked, pairs, torch.float32), wanted, OUTPUT, GRADIENT)


def test_half_precision_convolves_in_float32() -> None:
    u, kernel = torch.randn(1, 2, 50), torch.randn(2, 50)
    wanted = fft_convolution(u.bfloat16().double(), kernel.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = fft_convolution(u.bfloat16(), kernel)
        k = diagonal_kernel(torch.randn(2, 3, dtype=torch.cfloat), torch.randn(2, 3, dtype=torch.cfloat), 9)
    assert y.dtype == torch.bfloat16 and k.dtype == torch.float32
    assert error(y, wanted) < 1e-2


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="rule 'euler' is unknown"):
        discretise(torch.ones(1), torch.ones(1), "euler")
    with pytest.raises(ValueError, match="kernel has shape"):
        fft_convolution(torch.ones(1, 2, 3), torch.ones(2, 4))
