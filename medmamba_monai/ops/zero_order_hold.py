"""The factor of the input in a selective scan, and one step of the scan for streams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

INPUT_RULES = ("euler", "zoh")
# Below this size (exp(x) - 1) / x comes from its series: the quotient's gradient has no digits left there.
_SERIES = 0.3


def check_input_rule(input_rule: str) -> None:
    """Refuse an unknown rule."""
    if input_rule not in INPUT_RULES:
        raise ValueError(f"input_rule {input_rule!r} is unknown: use one of {INPUT_RULES}")


def held_factor(delta: Tensor, A: Tensor) -> Tensor:
    """The factor (exp(delta A) - 1) / A of an input held for a whole step, exact for small delta A and for A = 0.

    Mamba (arXiv 2312.00752), equation 4.

    Args:
        delta: step sizes.
        A: decay rates.

    Shape:
        delta and A broadcast together; returns that shape.

    Example:
        >>> held_factor(torch.tensor([0.5, 0.5]), torch.tensor([0.0, -1.0]))
        tensor([0.5000, 0.3935])
    """
    x = delta * A
    small = x.abs() < _SERIES
    near = torch.where(small, x, torch.zeros_like(x))
    series = torch.ones_like(x)
    for n in range(16 if x.dtype == torch.float64 else 8, 1, -1):
        series = 1 + near / n * series
    far = torch.where(small, torch.ones_like(x), x)
    return delta * torch.where(small, series, torch.expm1(far) / far)


def selective_scan_step(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    input_rule: str = "euler",
) -> tuple[Tensor, Tensor]:
    """One step of `selective_scan` and the state after it.

    Args:
        state: state before the step.
        u: input.
        delta: step sizes before the bias and the softplus.
        A: decay rates.
        B: input map.
        C: output map.
        D: skip weight of each channel, or None.
        z: gate: the output is multiplied by silu(z); or None.
        delta_bias: added to delta, or None.
        delta_softplus: apply softplus to delta after the bias.
        input_rule: "euler" or "zoh", as in `selective_scan`.

    Shape:
        state (B, D, N); u, delta, z (B, D); A (D, N); B, C (B, N); D, delta_bias (D). Returns (B, D) in u's dtype and
        the state in float32 (float64 for float64 inputs).

    Raises:
        ValueError: when the rule is unknown.

    Example:
        >>> one = torch.ones(1, 1)
        >>> selective_scan_step(one[None], one, one, torch.zeros(1, 1), one, one)[0]
        tensor([[2.]])
    """
    check_input_rule(input_rule)
    work = torch.promote_types(u.dtype, torch.float32)
    u_, delta, A = u.to(work), delta.to(work), A.to(work)
    if delta_bias is not None:
        delta = delta + delta_bias.to(work)
    if delta_softplus:
        delta = F.softplus(delta)
    delta = delta.unsqueeze(-1)
    factor = held_factor(delta, A) if input_rule == "zoh" else delta
    state = torch.exp(delta * A) * state.to(work) + factor * (u_.unsqueeze(-1) * B.to(work).unsqueeze(1))
    y = (state * C.to(work).unsqueeze(1)).sum(-1)
    if D is not None:
        y = y + D.to(work) * u_
    if z is not None:
        y = y * F.silu(z.to(work))
    return y.to(u.dtype), state
