"""The scan of Mamba-3 against its recurrence, written step by step in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medmamba_monai.ops import Mamba3State, mamba3_scan
from medmamba_monai.ops.mamba3 import rotate_pairs
from tests.ops.cases import assert_close, error, gradients

OUTPUT, GRADIENT = 5e-6, 2e-5


def inputs(
    length: int, rank: int = 1, groups: int = 1, heads: int = 2, width: int = 3, states: int = 8, pairs: int = 2
) -> dict[str, Tensor | None]:
    """Arguments of mamba3_scan by name."""
    return {
        "x": torch.randn(2, length, rank, heads, width),
        "dt": torch.rand(2, length, heads) * 0.5,
        "A": -torch.rand(2, length, heads) * 2 - 0.1,
        "B": torch.randn(2, length, rank, groups, states),
        "C": torch.randn(2, length, rank, groups, states),
        "trap": torch.rand(2, length, heads),
        "theta": torch.randn(2, length, pairs),
        "B_bias": torch.randn(heads, rank, states),
        "C_bias": torch.randn(heads, rank, states),
    }


def started(rank: int = 1, heads: int = 2, width: int = 3, states: int = 8, pairs: int = 2) -> Mamba3State:
    """The state in the middle of a stream."""
    return Mamba3State(
        torch.rand(2, heads, pairs) * 6,
        torch.randn(2, heads, width, states),
        torch.randn(2, rank, heads, states),
        torch.randn(2, rank, heads, width),
    )


def turn(x: Tensor, angle: Tensor, adjacent: bool) -> Tensor:
    """Multiply pairs of real numbers, read as complex ones, by exp(i angle)."""
    half, pairs = x.shape[-1] // 2, angle.shape[-1]
    real = [2 * i if adjacent else i for i in range(pairs)]
    imaginary = [2 * i + 1 if adjacent else i + half for i in range(pairs)]
    z = torch.complex(x[..., real], x[..., imaginary]) * torch.exp(1j * angle)
    places = torch.arange(x.shape[-1])
    result = x
    for column, (i, j) in enumerate(zip(real, imaginary, strict=True)):
        result = torch.where(places == i, z[..., column : column + 1].real, result)
        result = torch.where(places == j, z[..., column : column + 1].imag, result)
    return result


def stepwise(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, trap: Tensor, theta: Tensor, B_bias: Tensor,
    C_bias: Tensor, state: Mamba3State | None = None, adjacent: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """S_t = a S_(t-1) + (1 - trap) dt a x_(t-1) b_(t-1)^T + trap dt x_t b_t^T, y_t = S_t c_t."""
    batch, length, rank, heads, width = x.shape
    states, each = B.shape[-1], heads // B.shape[3]
    if state is None:
        angle, S = x.new_zeros(batch, heads, theta.shape[-1]), x.new_zeros(batch, heads, width, states)
        b_last, x_last = x.new_zeros(batch, rank, heads, states), x.new_zeros(batch, rank, heads, width)
    else:
        angle, S, b_last, x_last = (t.to(x.dtype) for t in state)
    outputs = []
    for t in range(length):
        angle = angle + math.pi * torch.tanh(theta[:, t])[:, None] * dt[:, t, :, None]
        b, c = (
            turn(m[:, t].repeat_interleave(each, 2) + bias.transpose(0, 1), angle[:, None], adjacent)
            for m, bias in ((B, B_bias), (C, C_bias))
        )
        a = torch.exp(dt[:, t] * A[:, t])[..., None, None]
        new, old = (p[..., None, None] for p in (trap[:, t] * dt[:, t], (1 - trap[:, t]) * dt[:, t]))
        S = a * S + old * a * torch.einsum("brhp,brhn->bhpn", x_last, b_last)
        S = S + new * torch.einsum("brhp,brhn->bhpn", x[:, t], b)
        outputs.append(torch.einsum("bhpn,brhn->brhp", S, c))
        b_last, x_last = b, x[:, t]
    return torch.stack(outputs, 1), S


def compare(arguments: dict[str, Tensor | None], state: Mamba3State | None = None, adjacent: bool = True) -> None:
    wanted = gradients(lambda **t: stepwise(**t, state=state, adjacent=adjacent), arguments, torch.float64)

    def ours(**tensors: Tensor) -> tuple[Tensor, Tensor]:
        y, last = mamba3_scan(**tensors, initial_state=state, adjacent_pairs=adjacent, chunk_size=8)  # type: ignore[arg-type]
        return y, last.ssm

    assert_close(gradients(ours, arguments, torch.float32), wanted, OUTPUT, GRADIENT)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 65])
def test_lengths(length: int) -> None:
    compare(inputs(length))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("adjacent", [True, False])
def test_rank_and_pairs(rank: int, adjacent: bool) -> None:
    compare(inputs(19, rank, pairs=3), adjacent=adjacent)


def test_groups_and_all_pairs() -> None:
    compare(inputs(19, groups=2, heads=4, pairs=4))


def test_goes_on_from_a_state() -> None:
    compare(inputs(11, rank=2), started(rank=2))


def test_pieces_are_one_scan() -> None:
    arguments = inputs(30, rank=2)
    y, last = mamba3_scan(**arguments)  # type: ignore[arg-type]
    parts = []
    state = None
    for start, stop in ((0, 1), (1, 12), (12, 30)):
        cut = {k: v if "bias" in k else v[:, start:stop] for k, v in arguments.items() if v is not None}
        part, state = mamba3_scan(**cut, initial_state=state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), y, rtol=1e-4, atol=1e-4)
    assert state is not None
    for found, wanted in zip(state, last, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_full_weight_on_the_present_without_rotation_is_mamba2() -> None:
    from medmamba_monai.ops import state_space_dual

    arguments = inputs(23)
    assert all(v is not None for v in arguments.values())
    x, dt, B, C = (arguments[k] for k in ("x", "dt", "B", "C"))
    A = -torch.rand(2) - 0.1
    given = arguments | {
        "A": A.expand(2, 23, 2), "trap": torch.ones(2, 23, 2), "theta": torch.zeros(2, 23, 2),
        "B_bias": torch.zeros(2, 1, 8), "C_bias": torch.zeros(2, 1, 8),
    }  # fmt: skip
    y, _ = mamba3_scan(**given)  # type: ignore[arg-type]
    wanted = state_space_dual(x[:, :, 0], dt, A, B[:, :, 0], C[:, :, 0])  # type: ignore[index,arg-type]
    torch.testing.assert_close(y[:, :, 0], wanted)


def test_angles_of_long_streams_stay_exact() -> None:
    length = 30000
    given = inputs(length, heads=1, width=1, states=2, pairs=1)
    given = {k: v if v is None or "bias" in k else v[:1] for k, v in given.items()}
    given["theta"] = torch.full((1, length, 1), 3.0)
    _, last = mamba3_scan(**given)  # type: ignore[arg-type]
    assert given["dt"] is not None
    wanted = (given["dt"].double() * math.pi * math.tanh(3.0)).sum()
    difference = float(last.angle) - float(wanted)
    assert abs(math.remainder(difference, 2 * math.pi)) < 1e-3


def test_half_precision_keeps_the_state_in_float32() -> None:
    given = {k: None if v is None else v.bfloat16() if k in "xBC" else v for k, v in inputs(40).items()}
    wanted = stepwise(**{k: v.double() for k, v in given.items() if v is not None})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, last = mamba3_scan(**given)  # type: ignore[arg-type]
    assert y.dtype == torch.bfloat16 and last.ssm.dtype == torch.float32
    assert error(last.ssm, wanted[1]) < 1e-5 and error(y, wanted[0]) < 1e-2


def test_rotation_keeps_lengths() -> None:
    x, angle = torch.randn(3, 8), torch.randn(3, 3)
    for adjacent in (True, False):
        turned = rotate_pairs(x, angle, adjacent)
        torch.testing.assert_close(turned, turn(x, angle, adjacent))
        torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="3 groups"):
        mamba3_scan(**inputs(4, groups=3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="theta turns 5 pairs"):
        mamba3_scan(**inputs(4, pairs=5))  # type: ignore[arg-type]
