"""The chunked scan of Mamba-2 against its recurrence, step by step in float64, and against the authors' functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops import scalar_decay_scan, state_space_dual
from medmamba_monai.ops.state_space_dual import joined
from tests.ops.cases import LENGTHS, assert_close, error, gradients
from tests.oracles.oracle import Oracle

ORACLES = Path(__file__).parents[1] / "oracles" / "ssm_ops.json"
OUTPUT, GRADIENT = 2e-6, 1e-5


def inputs(length: int, groups: int = 2, heads: int = 4, width: int = 3, states: int = 5) -> dict[str, Tensor | None]:
    """Arguments of state_space_dual by name."""
    return {
        "x": torch.randn(2, length, heads, width),
        "dt": torch.randn(2, length, heads) - 1,
        "A": -torch.rand(heads) * 2 - 0.1,
        "B": torch.randn(2, length, groups, states),
        "C": torch.randn(2, length, groups, states),
        "D": torch.randn(heads),
        "z": torch.randn(2, length, heads, width),
        "dt_bias": torch.randn(heads),
        "initial_state": torch.randn(2, heads, width, states),
    }


def stepwise(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    dt_bias: Tensor | None, initial_state: Tensor | None, limit: tuple[float, float] = (0.0, float("inf")),
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The recurrence as Mamba-2 writes it."""
    heads = x.shape[2]
    dt = F.softplus(dt if dt_bias is None else dt + dt_bias).clamp(*limit)
    B, C = (m.repeat_interleave(heads // m.shape[2], 2) for m in (B, C))
    h = x.new_zeros(x.shape[0], heads, x.shape[3], B.shape[3]) if initial_state is None else initial_state
    outputs = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)[:, :, None, None]
        h = decay * h + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None, :]
        outputs.append((h * C[:, t, :, None, :]).sum(-1))
    y = torch.stack(outputs, 1)
    if D is not None:
        y = y + x * (D[:, None] if D.dim() == 1 else D)
    return (y if z is None else y * F.silu(z)), h


def compare(arguments: dict[str, Tensor | None], **options: object) -> None:
    def ours(**tensors: Tensor) -> tuple[Tensor, ...]:
        result = state_space_dual(**tensors, dt_softplus=True, return_last_state=True, **options)  # type: ignore[arg-type]
        assert isinstance(result, tuple)
        return result

    wanted = gradients(lambda **t: stepwise(**t), arguments, torch.float64)
    assert_close(gradients(ours, arguments, torch.float32), wanted, OUTPUT, GRADIENT)


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths(length: int) -> None:
    compare(inputs(length), chunk_size=16)


@pytest.mark.parametrize("absent", ["D", "z", "dt_bias", "initial_state"])
def test_optional_inputs(absent: str) -> None:
    compare(inputs(20) | {absent: None}, chunk_size=8)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunk_size_changes_nothing(chunk: int) -> None:
    compare(inputs(50, groups=1), chunk_size=chunk)


def test_skip_of_every_channel() -> None:
    compare(inputs(9) | {"D": torch.randn(4, 3)})


def test_step_limits() -> None:
    arguments, limit = inputs(9), (0.2, 0.4)
    wanted = stepwise(**{k: v if v is None else v.double() for k, v in arguments.items()}, limit=limit)[0]  # type: ignore[arg-type]
    y = state_space_dual(**arguments, dt_softplus=True, dt_limit=limit)  # type: ignore[arg-type]
    assert isinstance(y, Tensor) and error(y, wanted) < OUTPUT


def test_small_decays_behind_large_ones() -> None:
    arguments = inputs(64)
    assert arguments["dt"] is not None
    arguments["dt"][:, ::4] += 5000.0
    arguments["dt"][:, 1::4] -= 4
    compare(arguments)


@pytest.mark.parametrize("case", ["ssd_combined", "ssd_minimal"])
def test_oracles(case: str) -> None:
    oracle = Oracle(ORACLES, case)
    tensors = oracle.inputs(requires_grad=True)
    outputs: Tensor | tuple[Tensor, ...]
    if case == "ssd_combined":
        outputs = state_space_dual(**tensors, **oracle.info["kwargs"])
    else:
        outputs = scalar_decay_scan(tensors["X"], tensors["A"], tensors["B"], tensors["C"], chunk_size=6)
    oracle.loss(outputs).backward()
    report = oracle.check(outputs, {name: x.grad for name, x in tensors.items()}, 2e-5, 2e-4)
    assert report, str(report)


def test_rank_is_a_sum_of_inputs_and_a_list_of_outputs() -> None:
    x, decay = torch.randn(1, 21, 3, 2, 4).double(), -torch.rand(1, 21, 2).double()
    B, C = torch.randn(2, 1, 21, 3, 1, 5).double()
    y, state = scalar_decay_scan(x, decay, B, C, chunk_size=4)
    h = torch.zeros(1, 2, 4, 5).double()
    for t in range(21):
        h = torch.exp(decay[:, t])[..., None, None] * h + torch.einsum("brhp,brgn->bhpn", x[:, t], B[:, t])
        torch.testing.assert_close(y[:, t], torch.einsum("bhpn,brgn->brhp", h, C[:, t]))
    torch.testing.assert_close(state, h)


def test_blocks_of_blocks() -> None:
    decay, x = -torch.rand(2, 2100).double() * 0.01, torch.randn(2, 2100, 3).double()
    h, wanted = torch.zeros(2, 3).double(), []
    for t in range(2100):
        h = torch.exp(decay[:, t, None]) * h + x[:, t]
        wanted.append(h)
    torch.testing.assert_close(joined(decay, x), torch.stack(wanted, 1))


def test_half_precision_keeps_the_state_in_float32() -> None:
    arguments = {k: None if v is None else v.bfloat16() for k, v in inputs(40).items()}
    wanted = stepwise(**{k: None if v is None else v.double() for k, v in arguments.items()})  # type: ignore[arg-type]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = state_space_dual(**arguments, dt_softplus=True, return_last_state=True)  # type: ignore[arg-type]
    assert isinstance(result, tuple)
    assert result[0].dtype == torch.bfloat16 and result[1].dtype == torch.float32
    assert error(result[1], wanted[1]) < 1e-5 and error(result[0], wanted[0]) < 1e-2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": torch.zeros(2, 5, 4)}, "x has shape"),
        ({"dt": torch.zeros(2, 5, 3)}, "dt has shape"),
        ({"A": torch.zeros(3)}, "A has shape"),
        ({"D": torch.zeros(2)}, "D has shape"),
        ({"C": torch.zeros(2, 5, 1, 5)}, "C has shape"),
        ({"B": torch.zeros(2, 5, 3, 5), "C": torch.zeros(2, 5, 3, 5)}, "3 groups"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments(wrong: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        state_space_dual(**(inputs(5) | wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="chunk_size is 0"):
        state_space_dual(**inputs(5), chunk_size=0)  # type: ignore[arg-type]
