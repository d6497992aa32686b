"""The scan step by step: the oracle every other backend is measured against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def unavailable() -> str | None:
    """None: plain torch runs everywhere."""
    return None


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    zero_order_hold: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence one step at a time and return (y, last state); B and C are (B, G, N, L)."""
    work = torch.promote_types(u.dtype, torch.float32)
    batch, channels, length = u.shape
    groups = B.shape[1]
    grouped = (batch, groups, channels // groups, length)
    u_, delta = u.to(work), delta.to(work)
    if delta_bias is not None:
        delta = delta + delta_bias.to(work)[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    A = A.to(work).reshape(groups, channels // groups, -1)
    h = u_.new_zeros((batch, groups, channels // groups, A.shape[-1]))
    # unbind gives one view and one gradient stack a tensor; indexing would give a full-size gradient for every step.
    steps = zip(
        u_.reshape(grouped).unbind(-1),
        delta.reshape(grouped).unbind(-1),
        B.to(work).unsqueeze(2).unbind(-1),
        C.to(work).unsqueeze(2).unbind(-1),
        strict=True,
    )
    outputs = []
    for u_t, delta_t, B_t, C_t in steps:
        delta_t = delta_t.unsqueeze(-1)
        # the quotient as it stands, not its series: this is the oracle
        factor = torch.expm1(delta_t * A) / A if zero_order_hold else delta_t
        h = torch.exp(delta_t * A) * h + factor * B_t * u_t.unsqueeze(-1)
        outputs.append((C_t * h).sum(-1))
    y = torch.stack(outputs, -1).reshape(batch, channels, length)
    if D is not None:
        y = y + D.to(work)[:, None] * u_
    if z is not None:
        y = y * F.silu(z.to(work))
    return y.to(u.dtype), h.reshape(batch, channels, -1)
