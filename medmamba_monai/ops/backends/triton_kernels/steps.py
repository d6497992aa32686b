"""What the kernels share: the rule that joins two steps, softplus, step sizes, offsets."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def compose(decay1, state1, decay2, state2):
    """Join two stretches of h -> decay h + state, the first one first."""
    return decay1 * decay2, decay2 * state1 + state2


@triton.jit
def softplus(x):
    """log(1 + exp(x)), exact for very negative x too: the fast logarithm of a GPU loses small results."""
    v = tl.exp(-tl.abs(x))
    s = v / (2.0 + v)
    q = s * s
    # log(1 + v) = 2 artanh(v / (2 + v)); s is at most 1/3, so that the next term is below float32's rounding.
    series = 1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q / 15))))))
    return tl.maximum(x, 0.0) + 2 * s * series


@triton.jit
def raw_steps(delta, bias, time_stride, t, inside):
    """The step sizes of one channel before the softplus; bias is one number."""
    return tl.load(delta + t * time_stride, mask=inside, other=0.0).to(tl.float32) + bias


@triton.jit
def step_sizes(delta, bias, time_stride, t, inside, SOFTPLUS: tl.constexpr):
    """The step sizes of one channel; 0 outside, where the state then stays as it is."""
    raw = raw_steps(delta, bias, time_stride, t, inside)
    if SOFTPLUS:
        raw = softplus(raw)
    return tl.where(inside, raw, 0.0)


@triton.jit
def line(x, time_stride, t, inside):
    """Steps of one channel in float32, 0 outside."""
    return tl.load(x + t * time_stride, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def lines(x, strides, n, states, t, inside):
    """Steps of all states of a map as a (states, steps) tile in float32, 0 outside."""
    mask = (n < states)[:, None] & inside[None, :]
    return tl.load(x + n[:, None] * strides[3] + t[None, :] * strides[4], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def optional(x, index):
    """One number of a tensor in float32; 0 when there is no tensor."""
    if x is None:
        return 0.0
    else:
        return tl.load(x + index).to(tl.float32)


@triton.jit
def at(x, strides, batch, direction, path):
    """Pointer to the first channel of a path; strides are those of (batch, direction, path, channel, time)."""
    return x + batch * strides[0] + direction * strides[1] + path * strides[2]
