"""The exact zero-order hold of the selective scan, and its steps, against the recurrence in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medmamba_monai.ops import selective_scan, selective_scan_step
from medmamba_monai.ops.zero_order_hold import held_factor
from tests.ops.cases import assert_close, error, gradients, inputs


@pytest.mark.parametrize("length", [1, 7, 65, 300])
@pytest.mark.parametrize("rate", [1e-4, 1.0, 30.0])
def test_chunked_is_its_recurrence(length: int, rate: float) -> None:
    def scan(name: str):  # type: ignore[no-untyped-def]
        return lambda **tensors: selective_scan(
            **tensors, delta_softplus=True, return_last_state=True, input_rule="zoh", backend=name
        )

    arguments = inputs(length, groups=2, rate=rate)
    wanted = gradients(scan("reference"), arguments, torch.float64)
    assert_close(gradients(scan("auto"), arguments, torch.float32), wanted, 2e-6, 2e-5)


def test_rules_differ_and_meet_at_small_steps() -> None:
    arguments = inputs(20, bias=False)
    assert arguments["delta"] is not None
    for scale, low, high in ((1.0, 1e-2, 10.0), (1e-5, 0.0, 1e-4)):
        arguments["delta"] = torch.rand(2, 12, 20) * scale
        zoh = selective_scan(**(arguments | {"D": None}), input_rule="zoh")
        euler = selective_scan(**(arguments | {"D": None}))
        assert isinstance(zoh, Tensor) and isinstance(euler, Tensor)
        assert low <= error(zoh, euler) <= high


def test_factor_is_the_integral_of_the_decay() -> None:
    A = -torch.logspace(-9, 2, 40).double()
    delta, place = torch.tensor(0.7).double(), torch.linspace(0, 0.7, 20001).double()
    integral = torch.trapezoid(torch.exp(A[:, None] * place), place)
    torch.testing.assert_close(held_factor(delta, A), integral, rtol=1e-5, atol=0)
    assert torch.autograd.gradcheck(held_factor, (delta.clone().requires_grad_(), A.clone().requires_grad_()))


@pytest.mark.parametrize("rule", ["euler", "zoh"])
def test_steps_are_the_scan(rule: str) -> None:
    arguments = {k: v for k, v in inputs(9).items() if v is not None}
    wanted = selective_scan(**arguments, delta_softplus=True, return_last_state=True, input_rule=rule)
    state, outputs = torch.zeros(2, 12, 5), []
    for t in range(9):
        now = {k: v[..., t] if v.dim() > 2 else v for k, v in arguments.items()}
        now |= {k: arguments[k][:, 0, :, t] for k in "BC"}
        y, state = selective_scan_step(state, **now, delta_softplus=True, input_rule=rule)
        outputs.append(y)
    torch.testing.assert_close((torch.stack(outputs, -1), state), wanted)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="input_rule 'exact' is unknown"):
        selective_scan(**inputs(4), input_rule="exact")
    with pytest.raises(RuntimeError, match="'reference'|input_rule='euler' only|cannot run"):
        selective_scan(**inputs(4), input_rule="zoh", backend="native")
