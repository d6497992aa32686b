"""Calls of the scan's kernels: sizes of tiles and grids, buffers, sums over what the programs wrote apart.

Forward: `tile_ends` (what each tile adds to the state), `join_tiles` (the state entering each tile), `tile_outputs`.
Backward: the same two passes the other way for the gradient of the state, then `tile_gradients`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from medmamba_monai.ops.backends.triton_kernels import backward as backward_kernels
from medmamba_monai.ops.backends.triton_kernels import forward as forward_kernels
from medmamba_monai.ops.backends.triton_kernels.tuning import INTERPRETED, tuned

# Programs that keep a large GPU busy; fixed, so that sums are taken in the same order on every device.
_PROGRAMS = 2048
# Tiles that `join_tiles` takes at a time: a long sequence waits once for each such block of memory.
_JOINED = 128
_SHAPE_CLASS = ("DIRECTIONS", "SOFTPLUS", "TILE", "STATES")

_tile_ends = tuned(forward_kernels.tile_ends, ("ADJOINT", *_SHAPE_CLASS))
_tile_outputs = tuned(forward_kernels.tile_outputs, _SHAPE_CLASS)
_tile_gradients = tuned(backward_kernels.tile_gradients, _SHAPE_CLASS)


class Inputs(NamedTuple):
    """The arguments of the scan: u, z (B, P, D, L); delta (B, R, P, D, L); A (R, P, D, N); B, C (B, R, P, N, L)."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    bias: Tensor | None


def tile_length(states: int) -> int:
    """Steps of a tile: about 1024 numbers, so that the ten or so tiles of the backward stay in registers."""
    return 32 if INTERPRETED else max(16, min(256, 1024 // _padded(states)))


def tile_count(length: int, states: int) -> int:
    """Tiles of a sequence."""
    return -(-length // tile_length(states))


def forward(given: Inputs, softplus: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the last states and the states that enter the tiles."""
    given = _rows(given)
    u, delta, A, B, C, D, z, bias = given
    batch, directions, paths, channels, length = delta.shape
    states = A.shape[-1]
    job = _job(given, softplus)
    starts, last = _join(given, u, B, None, None, job, adjoint=False)
    y = u.new_empty(u.shape)
    tiles = starts.shape[-2]
    block, splits = _split(channels, tiles * batch * paths, channels // 8)
    _tile_outputs[(tiles, splits, batch * paths)](
        u, _along(u), delta, delta.stride(), A, B, B.stride(), C, C.stride(), D, z, _along(z), bias, starts,
        y, _along(y), paths, channels, states, length, block, **job,
    )  # fmt: skip
    return y, last, starts


def backward(
    dy: Tensor, dlast: Tensor | None, given: Inputs, starts: Tensor, softplus: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of all inputs, each in its dtype, None for absent ones."""
    given, dy = _rows(given), dy.contiguous()
    u, delta, A, B, C, D, z, bias = given
    batch, directions, paths, channels, length = delta.shape
    states, tiles = A.shape[-1], starts.shape[-2]
    job = _job(given, softplus)
    adjoints, _ = _join(given, dy, C, z, None if dlast is None else dlast.contiguous(), job, adjoint=True)
    # Each block of channels costs one more copy of dB and dC: together they stay below the size of u.
    block, splits = _split(channels, tiles * batch * paths, channels // (2 * states))
    du, ddelta = u.new_empty(u.shape), delta.new_empty(delta.shape)
    dz = None if z is None else z.new_empty(z.shape)
    dB, dC = (x.new_empty((splits, *x.shape), dtype=x.dtype if splits == 1 else torch.float32) for x in (B, C))
    dA = torch.empty_like(starts)
    dD = None if D is None else starts.new_empty((batch, paths, channels, tiles))
    dbias = None if bias is None else starts.new_empty(starts.shape[:-1])
    _tile_gradients[(tiles, splits, batch * paths)](
        dy, u, _along(u), delta, delta.stride(), A, B, B.stride(), C, C.stride(), D, z, _along(z), bias, starts,
        adjoints, du, ddelta, dA, dB, dC, dD, dz, dbias, _along(du), dB.stride()[1:],
        batch, paths, channels, states, length, block, **job,
    )  # fmt: skip
    if dD is not None and D is not None:
        dD = dD.sum((0, 3)).to(D.dtype).expand(D.shape).contiguous()
    if dbias is not None and bias is not None:
        dbias = dbias.sum((0, 4)).to(bias.dtype)
    dB, dC = (found.sum(0).to(x.dtype) if splits > 1 else found[0] for found, x in ((dB, B), (dC, C)))
    return du, ddelta, dA.sum((0, 4)).to(A.dtype), dB, dC, dD, dz, dbias


def _join(
    given: Inputs,
    value: Tensor,
    maps: Tensor,
    gate: Tensor | None,
    entering: Tensor | None,
    job: dict[str, Any],
    adjoint: bool,
) -> tuple[Tensor, Tensor]:
    """The states that enter all tiles and the last ones; adjoint: the gradients of the states that leave them."""
    _, delta, A, _, _, _, _, bias = given
    batch, directions, paths, channels, length = delta.shape
    states = A.shape[-1]
    tiles = tile_count(length, states)
    ends = torch.empty((batch, directions, paths, channels, tiles, states), dtype=torch.float32, device=delta.device)
    totals, last = ends.new_empty(ends.shape[:-1]), ends.new_empty((*ends.shape[:4], states))
    block, splits = _split(channels, tiles * batch * directions * paths, channels // 8)
    _tile_ends[(tiles, splits, batch * directions * paths)](
        value, _along(value), delta, delta.stride(), maps, maps.stride(), gate, _along(gate), A, bias, ends, totals,
        paths, channels, states, length, block, ADJOINT=adjoint, **job,
    )  # fmt: skip
    starts = torch.empty_like(ends)
    forward_kernels.join_tiles[(last.numel() // states,)](
        ends, totals, A, entering, starts, last, directions * paths * channels, paths * channels, states, tiles,
        ADJOINT=adjoint, TILES=max(2, min(_JOINED, int(triton.next_power_of_2(tiles)))), STATES=job["STATES"],
        enable_fp_fusion=True,
    )  # fmt: skip
    return starts, last


def _job(given: Inputs, softplus: bool) -> dict[str, Any]:
    states = given.A.shape[-1]
    return {
        "DIRECTIONS": given.delta.shape[1],
        "SOFTPLUS": softplus,
        "TILE": tile_length(states),
        "STATES": _padded(states),
        # Triton 3.10 no longer joins products and sums unless told to.
        "enable_fp_fusion": True,
    }


def _padded(states: int) -> int:
    return int(triton.next_power_of_2(states))


def _rows(given: Inputs) -> Inputs:
    """The kernels take any strides of the large tensors; the small ones lie in order."""
    A, D, bias = (None if x is None else x.contiguous() for x in (given.A, given.D, given.bias))
    assert A is not None
    return given._replace(A=A, D=D, bias=bias)


def _along(x: Tensor | None) -> tuple[int, ...]:
    """Strides of (B, P, D, L) as those of (B, R, P, D, L): all directions read the same numbers."""
    return (0,) * 5 if x is None else (x.stride(0), 0, *x.stride()[1:])


def _split(channels: int, programs: int, most: int) -> tuple[int, int]:
    """Channels of one program, and how many blocks of them there are: enough to keep a GPU busy, at most `most`."""
    wanted = max(1, min(-(-_PROGRAMS // programs), most))
    block = -(-channels // wanted)
    return block, -(-channels // block)
