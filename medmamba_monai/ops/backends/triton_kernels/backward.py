"""The kernel of the scan's gradients: states are computed anew inside each tile from the saved ones that enter it."""

from __future__ import annotations

import triton
import triton.language as tl

from medmamba_monai.ops.backends.triton_kernels.forward import LOG2E
from medmamba_monai.ops.backends.triton_kernels.steps import (
    at,
    compose,
    line,
    lines,
    optional,
    raw_steps,
    softplus,
    step_sizes,
)


@triton.jit
def tile_gradients(
    dy, u, u_strides, delta, delta_strides, A, B, B_strides,
    C, C_strides, D, z, z_strides, bias, starts, adjoints,
    du, ddelta, dA, dB, dC, dD, dz, dbias, out_strides, map_strides,
    batches, paths, channels, states, length, block,
    DIRECTIONS: tl.constexpr, SOFTPLUS: tl.constexpr, TILE: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """All gradients of one tile; what is summed over tiles or blocks of channels is written apart, to be added later.

    dy, du, dz have out_strides; dB and dC map_strides, one copy a block of channels.
    """
    tile, tiles = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    split = tl.program_id(1).to(tl.int64)
    item = tl.program_id(2).to(tl.int64)
    path, batch = item % paths, item // paths
    first, low = split * block, tile * TILE
    t, n = low + tl.arange(0, TILE), tl.arange(0, STATES)
    high = tl.minimum(low + TILE, length)
    inside = t < high
    B0 = lines(at(B, B_strides, batch, 0, path), B_strides, n, states, t, inside)
    C0 = lines(at(C, C_strides, batch, 0, path), C_strides, n, states, t, inside)
    before0 = lines(at(B, B_strides, batch, 0, path), B_strides, n, states, t - 1, (t > low) & inside)
    dB0, dC0 = tl.zeros((STATES, TILE), tl.float32), tl.zeros((STATES, TILE), tl.float32)
    if DIRECTIONS == 2:
        B1 = lines(at(B, B_strides, batch, 1, path), B_strides, n, states, t, inside)
        C1 = lines(at(C, C_strides, batch, 1, path), C_strides, n, states, t, inside)
        before1 = lines(at(B, B_strides, batch, 1, path), B_strides, n, states, t + 1, t + 1 < high)
        dB1, dC1 = tl.zeros((STATES, TILE), tl.float32), tl.zeros((STATES, TILE), tl.float32)
    u = at(u, u_strides, batch, 0, path)
    dy = at(dy, out_strides, batch, 0, path)
    du = at(du, out_strides, batch, 0, path)
    for d in range(first, tl.minimum(first + block, channels)):
        out = d * out_strides[3] + t * out_strides[4]
        upper = tl.load(dy + out, mask=inside, other=0.0).to(tl.float32)
        given = upper
        if z is not None:
            gate = line(at(z, z_strides, batch, 0, path) + d * z_strides[3], z_strides[4], t, inside)
            opened = tl.sigmoid(gate)
            upper = given * gate * opened
        x = line(u + d * u_strides[3], u_strides[4], t, inside)
        value, slope, dB0, dC0 = _direction(
            upper, x, u + d * u_strides[3], u_strides[4], delta, delta_strides, A, B0, before0, C0, dB0, dC0, D, bias,
            starts, adjoints, ddelta, dA, dbias, batch, path, d, tile, tiles, paths, channels, states, length,
            t, n, low, high, inside, 0, DIRECTIONS, SOFTPLUS, z is not None,
        )  # fmt: skip
        if DIRECTIONS == 2:
            value1, slope1, dB1, dC1 = _direction(
                upper, x, u + d * u_strides[3], u_strides[4], delta, delta_strides, A, B1, before1, C1, dB1, dC1, D,
                bias, starts, adjoints, ddelta, dA, dbias, batch, path, d, tile, tiles, paths, channels, states, length,
                t, n, low, high, inside, 1, DIRECTIONS, SOFTPLUS, False,
            )  # fmt: skip
            slope += slope1
        tl.store(du + out, slope.to(du.dtype.element_ty), mask=inside)
        if z is not None:
            found = given * value * opened * (1 + gate * (1 - opened))
            tl.store(at(dz, out_strides, batch, 0, path) + out, found.to(dz.dtype.element_ty), mask=inside)
        if D is not None:
            # Both directions meet the same u and the same output, so they share this number.
            tl.store(dD + (item * channels + d) * tiles + tile, tl.sum(upper * x, 0))
    here = n[:, None] * map_strides[3] + t[None, :] * map_strides[4] + split * batches * map_strides[0]
    real = (n < states)[:, None] & inside[None, :]
    tl.store(at(dB, map_strides, batch, 0, path) + here, dB0.to(dB.dtype.element_ty), mask=real)
    tl.store(at(dC, map_strides, batch, 0, path) + here, dC0.to(dC.dtype.element_ty), mask=real)
    if DIRECTIONS == 2:
        tl.store(at(dB, map_strides, batch, 1, path) + here, dB1.to(dB.dtype.element_ty), mask=real)
        tl.store(at(dC, map_strides, batch, 1, path) + here, dC1.to(dC.dtype.element_ty), mask=real)


@triton.jit
def _direction(
    upper, x, u, u_stride, delta, delta_strides, A, B, before, C,
    dB, dC, D, bias, starts, adjoints, ddelta, dA, dbias,
    batch, path, d, tile, tiles, paths, channels, states, length,
    t, n, low, high, inside,
    DIRECTION: tl.constexpr, DIRECTIONS: tl.constexpr, SOFTPLUS: tl.constexpr, NEEDS_OUTPUT: tl.constexpr,
):  # fmt: skip
    """Output before the gate, gradient of u, and the sums for B and C with this channel added; stores the rest."""
    lane = (DIRECTION * paths + path) * channels + d
    sequence = batch * (DIRECTIONS * paths * channels) + lane
    row = sequence * tiles + tile
    real = n < states
    steps_of = at(delta, delta_strides, batch, DIRECTION, path) + d * delta_strides[3]
    shift, time_stride = optional(bias, lane), delta_strides[4]
    # "Earlier" and "later" are meant along the scan; outside the tile nothing is added and nothing decays.
    earlier, later = t - 1 + 2 * DIRECTION, t + 1 - 2 * DIRECTION
    raw = raw_steps(steps_of, shift, time_stride, t, inside)
    steps = raw
    if SOFTPLUS:
        steps = softplus(raw)
    steps = tl.where(inside, steps, 0.0)
    in_earlier = (earlier >= low) & (earlier < high)
    added = step_sizes(steps_of, shift, time_stride, earlier, in_earlier, SOFTPLUS)
    added *= line(u, u_stride, earlier, in_earlier)
    ahead = step_sizes(steps_of, shift, time_stride, later, (later >= low) & (later < high), SOFTPLUS)
    rates = tl.load(A + lane * states + n, mask=real, other=0.0).to(tl.float32)
    decay = tl.exp2((rates * LOG2E)[:, None] * steps[None, :])
    next_decay = tl.exp2((rates * LOG2E)[:, None] * ahead[None, :])
    start = tl.load(starts + row * states + n, mask=real, other=0.0)
    adjoint = tl.load(adjoints + row * states + n, mask=real, other=0.0)
    # The decayed state before each step's input is scanned by itself: taken as a difference it would lose digits.
    passed, kept = tl.associative_scan((decay, decay * (added[None, :] * before)), 1, compose, reverse=DIRECTION == 1)
    kept += passed * start[:, None]
    state = kept + (steps * x)[None, :] * B
    passed, slope = tl.associative_scan((next_decay, C * upper[None, :]), 1, compose, reverse=DIRECTION == 0)
    slope += passed * adjoint[:, None]

    through = slope * kept
    tl.store(dA + row * states + n, tl.sum(through * steps[None, :], 1), mask=real)
    into = tl.sum(slope * B, 0)
    dsteps = tl.sum(rates[:, None] * through, 0) + into * x
    if SOFTPLUS:
        dsteps *= tl.sigmoid(raw)
    dsteps = tl.where(inside, dsteps, 0.0)
    tl.store(ddelta + sequence * length + t, dsteps.to(ddelta.dtype.element_ty), mask=inside)
    if bias is not None:
        tl.store(dbias + row, tl.sum(dsteps, 0))
    skip = optional(D, lane)
    value = skip * x
    if NEEDS_OUTPUT:
        value += tl.sum(C * state, 0)
    return value, steps * into + skip * upper, dB + slope * (steps * x)[None, :], dC + state * upper[None, :]
