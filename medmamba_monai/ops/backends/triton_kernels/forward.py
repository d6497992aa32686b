"""Kernels of the forward scan; every tile of every channel runs apart, see `triton.py` for the three passes."""

from __future__ import annotations

import triton
import triton.language as tl

from medmamba_monai.ops.backends.triton_kernels.steps import at, compose, line, lines, optional, step_sizes

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def tile_ends(
    value, value_strides, delta, delta_strides, maps, map_strides,
    gate, gate_strides, A, bias, ends, totals,
    paths, channels, states, length, block,
    ADJOINT: tl.constexpr, DIRECTIONS: tl.constexpr, SOFTPLUS: tl.constexpr, TILE: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """What a tile adds to the state that leaves it, and its sum of step sizes; ADJOINT: to the gradient entering it."""
    tile, tiles = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    first = tl.program_id(1).to(tl.int64) * block
    item = tl.program_id(2).to(tl.int64)
    path, direction = item % paths, item // paths % DIRECTIONS
    batch = item // (paths * DIRECTIONS)
    t, n = tile * TILE + tl.arange(0, TILE), tl.arange(0, STATES)
    inside, real = t < length, n < states
    value = at(value, value_strides, batch, direction, path)
    delta = at(delta, delta_strides, batch, direction, path)
    maps = lines(at(maps, map_strides, batch, direction, path), map_strides, n, states, t, inside)
    if gate is not None:
        gate = at(gate, gate_strides, batch, direction, path)
    for d in range(first, tl.minimum(first + block, channels)):
        lane = (direction * paths + path) * channels + d
        steps = step_sizes(delta + d * delta_strides[3], optional(bias, lane), delta_strides[4], t, inside, SOFTPLUS)
        x = line(value + d * value_strides[3], value_strides[4], t, inside)
        if gate is not None:
            z = line(gate + d * gate_strides[3], gate_strides[4], t, inside)
            x *= z * tl.sigmoid(z)
        up, down = tl.cumsum(steps, 0), tl.cumsum(steps, 0, reverse=True)
        if ADJOINT:
            reach = tl.where(direction == 0, up, down)
        else:
            x *= steps
            reach = tl.where(direction == 0, down, up) - steps
        rates = tl.load(A + lane * states + n, mask=real, other=0.0).to(tl.float32) * LOG2E
        end = tl.sum(tl.exp2(rates[:, None] * reach[None, :]) * x[None, :] * maps, 1)
        row = (item * channels + d) * tiles + tile
        tl.store(ends + row * states + n, end, mask=real)
        tl.store(totals + row, tl.sum(steps, 0))


@triton.jit
def join_tiles(
    ends, totals, A, entering, starts, last,
    lanes, lanes_forward, states, tiles,
    ADJOINT: tl.constexpr, TILES: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """The state that enters each tile of one sequence, from the ends of all tiles; ADJOINT runs the other way."""
    row = tl.program_id(0).to(tl.int64)
    lane = row % lanes
    backwards = (lane >= lanes_forward) != ADJOINT
    n = tl.arange(0, STATES)
    real = n < states
    rates = tl.load(A + lane * states + n, mask=real, other=0.0).to(tl.float32) * LOG2E
    carry = tl.zeros((STATES,), tl.float32)
    if entering is not None:
        carry += tl.load(entering + row * states + n, mask=real, other=0.0)
    begin = tl.where(backwards, tiles - 1, 0)
    tl.store(starts + (row * tiles + begin) * states + n, carry, mask=real)
    for first in range(0, tiles, TILES):
        i = first + tl.arange(0, TILES)
        tile = tl.where(backwards, tiles - 1 - i, i)
        there = i < tiles
        total = tl.load(totals + row * tiles + tile, mask=there, other=0.0)
        mask = there[:, None] & real[None, :]
        end = tl.load(ends + (row * tiles + tile)[:, None] * states + n[None, :], mask=mask, other=0.0)
        decay, state = tl.associative_scan((tl.exp2(total[:, None] * rates[None, :]), end), 0, compose)
        state += decay * carry[None, :]
        following = tl.where(backwards, tile - 1, tile + 1)
        mask = (i + 1 < tiles)[:, None] & real[None, :]
        tl.store(starts + (row * tiles + following)[:, None] * states + n[None, :], state, mask=mask)
        carry = tl.sum(tl.where((i == first + TILES - 1)[:, None], state, 0.0), 0)
    if last is not None:
        tl.store(last + row * states + n, carry, mask=real)


@triton.jit
def tile_outputs(
    u, u_strides, delta, delta_strides, A, B, B_strides, C, C_strides,
    D, z, z_strides, bias, starts, y, y_strides,
    paths, channels, states, length, block,
    DIRECTIONS: tl.constexpr, SOFTPLUS: tl.constexpr, TILE: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """The outputs of one tile from the states that enter it, all directions added and gated."""
    tile, tiles = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    first = tl.program_id(1).to(tl.int64) * block
    item = tl.program_id(2).to(tl.int64)
    path, batch = item % paths, item // paths
    t, n = tile * TILE + tl.arange(0, TILE), tl.arange(0, STATES)
    inside = t < length
    B0 = lines(at(B, B_strides, batch, 0, path), B_strides, n, states, t, inside)
    C0 = lines(at(C, C_strides, batch, 0, path), C_strides, n, states, t, inside)
    if DIRECTIONS == 2:
        B1 = lines(at(B, B_strides, batch, 1, path), B_strides, n, states, t, inside)
        C1 = lines(at(C, C_strides, batch, 1, path), C_strides, n, states, t, inside)
    u = at(u, u_strides, batch, 0, path)
    y = at(y, y_strides, batch, 0, path)
    for d in range(first, tl.minimum(first + block, channels)):
        x = line(u + d * u_strides[3], u_strides[4], t, inside)
        total = _tile_output(
            x, delta, delta_strides, A, B0, C0, D, bias, starts, batch, path, d, tile, tiles, paths, channels, states,
            t, n, inside, 0, DIRECTIONS, SOFTPLUS,
        )  # fmt: skip
        if DIRECTIONS == 2:
            total += _tile_output(
                x, delta, delta_strides, A, B1, C1, D, bias, starts, batch, path, d, tile, tiles, paths, channels,
                states, t, n, inside, 1, DIRECTIONS, SOFTPLUS,
            )  # fmt: skip
        if z is not None:
            gate = line(at(z, z_strides, batch, 0, path) + d * z_strides[3], z_strides[4], t, inside)
            total *= gate * tl.sigmoid(gate)
        tl.store(y + d * y_strides[3] + t * y_strides[4], total.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _tile_output(
    x, delta, delta_strides, A, B, C, D, bias, starts,
    batch, path, d, tile, tiles, paths, channels, states,
    t, n, inside, DIRECTION: tl.constexpr, DIRECTIONS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    lane = (DIRECTION * paths + path) * channels + d
    row = (batch * (DIRECTIONS * paths * channels) + lane) * tiles + tile
    line_of_delta = at(delta, delta_strides, batch, DIRECTION, path) + d * delta_strides[3]
    steps = step_sizes(line_of_delta, optional(bias, lane), delta_strides[4], t, inside, SOFTPLUS)
    rates = tl.load(A + lane * states + n, mask=n < states, other=0.0).to(tl.float32) * LOG2E
    start = tl.load(starts + row * states + n, mask=n < states, other=0.0)
    decay, state = tl.associative_scan(
        (tl.exp2(rates[:, None] * steps[None, :]), (steps * x)[None, :] * B), 1, compose, reverse=DIRECTION == 1
    )
    return tl.sum(C * (state + decay * start[:, None]), 0) + optional(D, lane) * x
