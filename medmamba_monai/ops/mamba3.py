"""The scan of Mamba-3: trapezoidal input rule, rotating state, one or several inputs and outputs a step.

Letters follow Mamba-3 (arXiv 2603.15569): x input, dt step size, A decay, B and C input and output maps, trap the
weight lambda of the present input, theta the rate of rotation; B is the batch size in shapes, L the length, R the rank,
H the heads, P the channels of a head, N the state size, G the groups of heads that share B and C, S the turning pairs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops.autocast import without_autocast
from medmamba_monai.ops.backends.chunked import is_tracing
from medmamba_monai.ops.state_space_dual import scalar_decay_scan

# Maps are widened to all heads and turned piece by piece, so that they never exist at full length.
_PIECE = 8192


class Mamba3State(NamedTuple):
    """What a stream remembers: the angles (B, H, S), the state (B, H, P, N), the last maps (B, R, H, N) and inputs."""

    angle: Tensor
    ssm: Tensor
    B: Tensor
    x: Tensor


def mamba3_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    trap: Tensor,
    theta: Tensor,
    B_bias: Tensor,
    C_bias: Tensor,
    initial_state: Mamba3State | None = None,
    *,
    adjacent_pairs: bool = True,
    chunk_size: int = 64,
) -> tuple[Tensor, Mamba3State]:
    """Run Mamba-3's recurrence along the length and return (y, last state).

    Mamba-3 (arXiv 2603.15569), propositions 1 (exponential-trapezoidal rule) and 4 (rotation), and section 3.3 (MIMO):
    S_t = a_t S_{t-1} + (1 - trap_t) dt_t a_t x_{t-1} b_{t-1}^T + trap_t dt_t x_t b_t^T and y_t = S_t c_t, with
    a_t = exp(dt_t A_t), b_t and c_t the biased maps turned by the angles phi_t = phi_{t-1} + pi tanh(theta_t) dt_t.
    With a rank the products are summed over it, and each c_tr reads its own y_tr.

    Args:
        x: input.
        dt: step sizes, positive.
        A: decay rates, negative.
        B: input map of each group of heads, normalised.
        C: output map of each group of heads, normalised.
        trap: weight of the present input against the last one, between 0 and 1.
        theta: rates of rotation, the same for all heads.
        B_bias: added to B.
        C_bias: added to C.
        initial_state: state before the first step, zero if None.
        adjacent_pairs: entries 2 i and 2 i + 1 of the maps turn together, else i and i + N / 2.
        chunk_size: steps joined by one matrix product, at least 1.

    Shape:
        x (B, L, R, H, P); dt, A, trap (B, L, H); B, C (B, L, R, G, N); theta (B, L, S); B_bias, C_bias (H, R, N).
        Returns (B, L, R, H, P) in x's dtype and the state in float32.

    Raises:
        ValueError: when the groups do not divide the heads or more pairs turn than there are.

    Example:
        >>> x, one = torch.ones(1, 3, 1, 1, 1), torch.ones(1, 3, 1)
        >>> maps, none, bias = torch.zeros(1, 3, 1, 1, 2), torch.zeros(1, 3, 1), torch.tensor([[[1.0, 0.0]]])
        >>> mamba3_scan(x, one, 0 * one, maps, maps, one / 2, none, bias, bias)[0].flatten()
        tensor([0.5000, 1.5000, 2.5000])

    Notes:
        The two inputs of a step are one: x_t b_t^T enters with trap_t dt_t + (1 - trap_{t+1}) dt_{t+1}, and what y_t
        must not see yet is taken off. That is Mamba-2's scan once, with the same cost. Angles are summed in float64.
    """
    heads, states = x.shape[3], B.shape[-1]
    if heads % B.shape[3]:
        raise ValueError(f"B has {B.shape[3]} groups: they must divide the {heads} heads of x")
    if 2 * theta.shape[-1] > states:
        raise ValueError(f"theta turns {theta.shape[-1]} pairs: {states} states have {states // 2}")
    piece = x.shape[1] if is_tracing() else min(_PIECE, x.shape[1])
    outputs, state = [], initial_state
    with without_autocast(x):
        for x_, dt_, A_, B_, C_, trap_, theta_ in zip(
            *(t.split(piece, 1) for t in (x, dt, A, B, C, trap, theta)), strict=True
        ):
            y, state = _scan(x_, dt_, A_, B_, C_, trap_, theta_, B_bias, C_bias, state, adjacent_pairs, chunk_size)
            outputs.append(y)
    assert state is not None
    return torch.cat(outputs, 1).to(x.dtype), state


def _scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, trap: Tensor, theta: Tensor, B_bias: Tensor,
    C_bias: Tensor, state: Mamba3State | None, adjacent_pairs: bool, chunk_size: int,
) -> tuple[Tensor, Mamba3State]:  # fmt: skip
    work = torch.promote_types(x.dtype, torch.float32)
    x, dt, trap = x.to(work), dt.to(work), trap.to(work)
    angle = torch.cumsum(math.pi * torch.tanh(theta.double()).unsqueeze(2) * dt.double().unsqueeze(-1), 1)
    if state is not None:
        angle = angle + state.angle.double().unsqueeze(1)
    angle = torch.remainder(angle, 2 * math.pi).to(work)
    B, C = (
        rotate_pairs(_widened(maps, bias, x.shape[3]), angle.unsqueeze(2), adjacent_pairs)
        for maps, bias in ((B, B_bias), (C, C_bias))
    )

    now, before = trap * dt, (1 - trap) * dt
    later = F.pad(before[:, 1:], (0, 0, 0, 1))
    entering = None
    if state is not None:
        held = torch.einsum("brhp,brhn->bhpn", state.x.to(work), state.B.to(work))
        entering = state.ssm.to(work) + before[:, 0, :, None, None] * held
    weight = (now + later)[:, :, None, :, None]
    y, ssm = scalar_decay_scan(x * weight, dt * A.to(work), B, C, entering, chunk_size=chunk_size)
    seen = torch.einsum("blrhn,blshn->blrsh", C, B) * later[:, :, None, None]
    y = y - torch.einsum("blrsh,blshp->blrhp", seen, x)
    return y, Mamba3State(angle[:, -1], ssm, B[:, -1], x[:, -1])


def _widened(maps: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Maps of groups to maps of heads, with the bias of each head."""
    return maps.to(bias.dtype).repeat_interleave(heads // maps.shape[3], 3) + bias.transpose(0, 1)


def rotate_pairs(x: Tensor, angle: Tensor, adjacent: bool) -> Tensor:
    """Turn S pairs of the last axis by their angles and leave the rest.

    Args:
        x: vectors.
        angle: angles of the pairs, in radians.
        adjacent: entries 2 i and 2 i + 1 are a pair, else i and i + N / 2.

    Shape:
        x (..., N), angle (..., S); returns the shape of x.

    Example:
        >>> rotate_pairs(torch.tensor([1.0, 0.0, 5.0, 6.0]), torch.tensor([math.pi / 2]), adjacent=True).round().abs()
        tensor([0., 1., 5., 6.])
    """
    pairs, half = angle.shape[-1], x.shape[-1] // 2
    cos, sin = torch.cos(angle), torch.sin(angle)
    if adjacent:
        first, second = x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2]
        turned = torch.stack((first * cos - second * sin, first * sin + second * cos), -1).flatten(-2)
        return torch.cat((turned, x[..., 2 * pairs :]), -1)
    first, second = x[..., :pairs], x[..., half : half + pairs]
    return torch.cat(
        (
            first * cos - second * sin,
            x[..., pairs:half],
            first * sin + second * cos,
            x[..., half + pairs :],
        ),
        -1,
    )
