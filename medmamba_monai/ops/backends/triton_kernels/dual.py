"""The kernels of Mamba-2's scan (SSD): a sequence is cut into chunks, inside which steps meet in matrix products.

Letters follow Mamba-2 (arXiv 2405.21060). A program has one chunk of one head: x (T, P), B and C (T, N), the logarithms
a of the decays (T). A state is (P, N). Sums of a are sums of their own terms, never differences of longer sums.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from medmamba_monai.ops.backends.triton_kernels.tuning import INTERPRETED, tuned

_BLOCK = 1024
_SHAPE_CLASS = ("PRECISION", "CHUNK", "WIDTH", "STATES")


@triton.jit
def _rows(x, strides, t, length, f, width):
    """Steps of one head as a (steps, features) tile in float32, 0 outside."""
    mask = (t < length)[:, None] & (f < width)[None, :]
    return tl.load(x + t[:, None] * strides[1] + f[None, :] * strides[3], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _head(x, strides, batch, head):
    return x + batch * strides[0] + head * strides[2]


@triton.jit
def _state(x, row, p, n, width, states):
    """A state as a (width, states) tile."""
    mask = (p < width)[:, None] & (n < states)[None, :]
    return tl.load(x + row * width * states + p[:, None] * states + n[None, :], mask=mask, other=0.0)


@triton.jit
def _keep_state(x, row, value, p, n, width, states):
    mask = (p < width)[:, None] & (n < states)[None, :]
    tl.store(x + row * width * states + p[:, None] * states + n[None, :], value, mask=mask)


@triton.jit
def _product(a, b, PRECISION: tl.constexpr):
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def _decays(a, a_strides, t, length, CHUNK: tl.constexpr):
    """Decay from the chunk's start through each step, and from behind each step to the end; their sum's logarithm."""
    logs = tl.load(a + t * a_strides[1], mask=t < length, other=0.0).to(tl.float32)
    i = tl.arange(0, CHUNK)
    since = tl.exp(tl.sum(tl.where(i[:, None] <= i[None, :], logs[:, None], 0.0), 0))
    until = tl.exp(tl.sum(tl.where(i[:, None] > i[None, :], logs[:, None], 0.0), 0))
    return logs, since, until, tl.sum(logs, 0)


@triton.jit
def _between(logs, CHUNK: tl.constexpr):
    """Decay behind step j through step i as a matrix (i, j), 0 above the diagonal."""
    i = tl.arange(0, CHUNK)
    terms = tl.where(i[:, None] > i[None, :], logs[:, None], 0.0)
    return tl.where(i[:, None] >= i[None, :], tl.exp(tl.cumsum(terms, 0)), 0.0)


@triton.jit
def chunk_ends(
    x, x_strides, a, a_strides, maps, map_strides, ends, totals,
    heads, shared, length, width, states,
    ADJOINT: tl.constexpr, PRECISION: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """What a chunk adds to the state; ADJOINT: to the gradient of the state, the other way, from dy and C."""
    chunk, chunks = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    sequence = tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    t, p, n = chunk * CHUNK + tl.arange(0, CHUNK), tl.arange(0, WIDTH), tl.arange(0, STATES)
    values = _rows(_head(x, x_strides, batch, head), x_strides, t, length, p, width)
    lines = _rows(_head(maps, map_strides, batch, head // shared), map_strides, t, length, n, states)
    logs, since, until, total = _decays(_head(a, a_strides, batch, head), a_strides, t, length, CHUNK)
    if ADJOINT:
        weights = since
    else:
        weights = until
    row = sequence * chunks + chunk
    _keep_state(ends, row, _product(tl.trans(values * weights[:, None]), lines, PRECISION), p, n, width, states)
    tl.store(totals + row, total)


@triton.jit
def join_chunks(
    ends, totals, first, entering, last, chunks, size, ADJOINT: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The state that enters each chunk, and the last one; ADJOINT: the gradient of the state that leaves each."""
    sequence = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = place < size
    state = tl.zeros((BLOCK,), tl.float32)
    if first is not None:
        state = tl.load(first + sequence * size + place, mask=real, other=0.0).to(tl.float32)
    for k in range(chunks):
        chunk = chunks - 1 - k if ADJOINT else k
        row = sequence * chunks + chunk
        tl.store(entering + row * size + place, state, mask=real)
        state = tl.exp(tl.load(totals + row)) * state + tl.load(ends + row * size + place, mask=real, other=0.0)
    tl.store(last + sequence * size + place, state, mask=real)


@triton.jit
def chunk_outputs(
    x, x_strides, a, a_strides, B, B_strides, C, C_strides, entering, y, y_strides,
    heads, shared, length, width, states,
    PRECISION: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """The output of one chunk, from its own steps and the state that enters it."""
    chunk, chunks = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    sequence = tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    t, p, n = chunk * CHUNK + tl.arange(0, CHUNK), tl.arange(0, WIDTH), tl.arange(0, STATES)
    values = _rows(_head(x, x_strides, batch, head), x_strides, t, length, p, width)
    given = _rows(_head(B, B_strides, batch, head // shared), B_strides, t, length, n, states)
    read = _rows(_head(C, C_strides, batch, head // shared), C_strides, t, length, n, states)
    logs, since, until, total = _decays(_head(a, a_strides, batch, head), a_strides, t, length, CHUNK)
    state = _state(entering, sequence * chunks + chunk, p, n, width, states)
    inside = _product(read, tl.trans(given), PRECISION) * _between(logs, CHUNK)
    found = _product(inside, values, PRECISION) + since[:, None] * _product(read, tl.trans(state), PRECISION)
    place = _head(y, y_strides, batch, head) + t[:, None] * y_strides[1] + p[None, :] * y_strides[3]
    tl.store(place, found, mask=(t < length)[:, None] & (p < width)[None, :])


@triton.jit
def chunk_input_gradients(
    dy, dy_strides, x, x_strides, a, a_strides, B, B_strides, C, C_strides, entering, leaving,
    dx, dx_strides, da, da_strides,
    heads, shared, length, width, states,
    PRECISION: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """The gradients of x and a in one chunk."""
    chunk, chunks = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    sequence = tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    t, p, n = chunk * CHUNK + tl.arange(0, CHUNK), tl.arange(0, WIDTH), tl.arange(0, STATES)
    given = _rows(_head(B, B_strides, batch, head // shared), B_strides, t, length, n, states)
    read = _rows(_head(C, C_strides, batch, head // shared), C_strides, t, length, n, states)
    logs, since, until, total = _decays(_head(a, a_strides, batch, head), a_strides, t, length, CHUNK)
    pairs = _product(read, tl.trans(given), PRECISION) * _between(logs, CHUNK)
    row = sequence * chunks + chunk
    state = _state(entering, row, p, n, width, states)
    inner = _product(read, tl.trans(state), PRECISION)
    slope = _state(leaving, row, p, n, width, states)
    passing = tl.sum(tl.sum(state * slope, 1), 0)
    onward = until[:, None] * _product(given, tl.trans(slope), PRECISION)
    upper = _rows(_head(dy, dy_strides, batch, head), dy_strides, t, length, p, width)
    found = _product(tl.trans(pairs), upper, PRECISION) + onward
    place = _head(dx, dx_strides, batch, head) + t[:, None] * dx_strides[1] + p[None, :] * dx_strides[3]
    tl.store(place, found.to(dx.dtype.element_ty), mask=(t < length)[:, None] & (p < width)[None, :])

    # Step t decays what goes from a step before it, or from the entering state, to it or a step behind it, or out.
    values = _rows(_head(x, x_strides, batch, head), x_strides, t, length, p, width)
    i = tl.arange(0, CHUNK)
    crossing = _product(upper, tl.trans(values), PRECISION) * pairs
    slopes = tl.sum(tl.where(i[:, None] >= i[None, :], tl.cumsum(crossing, 1) - crossing, 0.0), 0)
    arriving = since * tl.sum(upper * inner, 1)
    slopes += tl.sum(tl.where(i[:, None] >= i[None, :], arriving[:, None], 0.0), 0)
    going = tl.sum(values * onward, 1)
    slopes += tl.sum(tl.where(i[:, None] < i[None, :], going[:, None], 0.0), 0) + tl.exp(total) * passing
    place = _head(da, da_strides, batch, head) + t * da_strides[1]
    tl.store(place, slopes.to(da.dtype.element_ty), mask=t < length)


@triton.jit
def chunk_map_gradients(
    dy, dy_strides, x, x_strides, a, a_strides, B, B_strides, C, C_strides, entering, leaving, dB, dC, map_strides,
    heads, shared, length, width, states,
    PRECISION: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """The gradients of B and C in one chunk, written apart for each head, to be added later."""
    chunk, chunks = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    sequence = tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    t, p, n = chunk * CHUNK + tl.arange(0, CHUNK), tl.arange(0, WIDTH), tl.arange(0, STATES)
    row = sequence * chunks + chunk
    upper = _rows(_head(dy, dy_strides, batch, head), dy_strides, t, length, p, width)
    values = _rows(_head(x, x_strides, batch, head), x_strides, t, length, p, width)
    logs, since, until, total = _decays(_head(a, a_strides, batch, head), a_strides, t, length, CHUNK)
    weights = _product(upper, tl.trans(values), PRECISION) * _between(logs, CHUNK)
    mask = (t < length)[:, None] & (n < states)[None, :]
    here = t[:, None] * map_strides[1] + n[None, :] * map_strides[3]
    state = _state(entering, row, p, n, width, states)
    given = _rows(_head(B, B_strides, batch, head // shared), B_strides, t, length, n, states)
    found = _product(weights, given, PRECISION) + since[:, None] * _product(upper, state, PRECISION)
    tl.store(_head(dC, map_strides, batch, head) + here, found, mask=mask)
    slope = _state(leaving, row, p, n, width, states)
    read = _rows(_head(C, C_strides, batch, head // shared), C_strides, t, length, n, states)
    found = _product(tl.trans(weights), read, PRECISION) + until[:, None] * _product(values, slope, PRECISION)
    tl.store(_head(dB, map_strides, batch, head) + here, found, mask=mask)


_chunk_ends = tuned(chunk_ends, ("ADJOINT", *_SHAPE_CLASS))
_chunk_outputs = tuned(chunk_outputs, _SHAPE_CLASS)
_chunk_input_gradients = tuned(chunk_input_gradients, _SHAPE_CLASS)
_chunk_map_gradients = tuned(chunk_map_gradients, _SHAPE_CLASS)


def chunk_length(states: int) -> int:
    """Steps of a chunk: fewer where the states are many, so that a chunk's tiles stay on the chip."""
    return 16 if INTERPRETED or states > 64 else 32


def forward(x: Tensor, a: Tensor, B: Tensor, C: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the last states and the states that enter the chunks."""
    entering, last = _join(x, a, B, first, adjoint=False)
    y = torch.empty(x.shape, device=x.device, dtype=torch.float32)
    grid, sizes, job = _job(x, B)
    _chunk_outputs[grid](
        x, x.stride(), a, a.stride(), B, B.stride(), C, C.stride(), entering, y, y.stride(), *sizes, **job
    )
    return y, last, entering


def backward(
    dy: Tensor, dlast: Tensor | None, x: Tensor, a: Tensor, B: Tensor, C: Tensor, entering: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, a, B, C and the first states."""
    leaving, dfirst = _join(dy, a, C, dlast, adjoint=True)
    dx, da = (torch.empty_like(v, memory_format=torch.contiguous_format) for v in (x, a))
    batch, length, heads, _ = x.shape
    groups, states = B.shape[2:]
    dB, dC = (torch.empty((batch, length, heads, states), device=x.device, dtype=torch.float32) for _ in range(2))
    grid, sizes, job = _job(x, B)
    given = (dy, dy.stride(), x, x.stride(), a, a.stride(), B, B.stride(), C, C.stride(), entering, leaving)
    _chunk_input_gradients[grid](*given, dx, dx.stride(), da, da.stride(), *sizes, **job)
    _chunk_map_gradients[grid](*given, dB, dC, dB.stride(), *sizes, **job)
    dB, dC = (v.unflatten(2, (groups, -1)).sum(3).to(B.dtype) for v in (dB, dC))
    return dx, da, dB, dC, dfirst


def _join(x: Tensor, a: Tensor, maps: Tensor, first: Tensor | None, adjoint: bool) -> tuple[Tensor, Tensor]:
    """The states that enter all chunks and the last ones; adjoint: the gradients of the states that leave them."""
    batch, length, heads, width = x.shape
    states = maps.shape[-1]
    grid, sizes, job = _job(x, maps)
    ends = torch.empty((batch, heads, grid[0], width, states), device=x.device, dtype=torch.float32)
    totals, last = ends.new_empty(ends.shape[:3]), ends.new_empty((batch, heads, width, states))
    _chunk_ends[grid](x, x.stride(), a, a.stride(), maps, maps.stride(), ends, totals, *sizes, ADJOINT=adjoint, **job)
    entering = torch.empty_like(ends)
    size = width * states
    first = None if first is None else first.contiguous()
    join_chunks[(batch * heads, -(-size // _BLOCK))](
        ends, totals, first, entering, last, grid[0], size, ADJOINT=adjoint, BLOCK=_BLOCK
    )
    return entering, last


def _job(x: Tensor, maps: Tensor) -> tuple[tuple[int, int], tuple[int, ...], dict[str, Any]]:
    """The grid, the sizes and the constants of a kernel that has one chunk of one head a program."""
    batch, length, heads, width = x.shape
    groups, states = maps.shape[2:]
    chunk = chunk_length(states)
    sizes = (heads, heads // groups, length, width, states)
    padded = {name: max(16, int(triton.next_power_of_2(n))) for name, n in (("WIDTH", width), ("STATES", states))}
    return (-(-length // chunk), batch * heads), sizes, {"PRECISION": _precision(maps), "CHUNK": chunk, **padded}


def _precision(maps: Tensor) -> str:
    """How matrices are multiplied: in TF32 where B and C have half precision anyway, else in three such products."""
    if torch.version.hip is not None:
        return "ieee"
    return "tf32x3" if maps.dtype == torch.float32 else "tf32"
