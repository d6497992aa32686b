"""The scan in plain torch: chunks run side by side, then their carries are combined; exportable at any length."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops.zero_order_hold import held_factor

# An exported graph must hold for lengths unknown at export: chunks of 8 steps are joined in blocks of so many, whose
# ends are joined again; what is left (one in 4096 steps) meets in one matrix. Few nodes keep the export short.
_EXPORT_CHUNK = 8
_EXPORT_BLOCKS = (4, 8, 16)


def unavailable() -> str | None:
    """None: plain torch runs everywhere."""
    return None


def is_tracing() -> bool:
    """True while a graph is recorded that must hold for other lengths too."""
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return torch.compiler.is_exporting() or traced or torch.onnx.is_in_onnx_export()


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
    """Run the recurrence chunk by chunk and return (y, last state); B and C are (B, G, N, L)."""
    work = torch.promote_types(u.dtype, torch.float32)
    batch, channels, length = u.shape
    groups, size = B.shape[1], _chunk_size(length)
    per_group = channels // groups
    u_, delta = u.to(work), delta.to(work)
    if delta_bias is not None:
        delta = delta + delta_bias.to(work)[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    A = A.to(work).reshape(groups, per_group, -1, 1)

    # Padded steps have delta 0: they keep the state and add nothing.
    # While tracing there is never a single chunk (a graph recorded with several would not hold for one), and their
    # number is a plain expression: symbolic sizes are what exports spend their time on.
    chunks = length // size + 2 if is_tracing() else -(-length // size)
    pad = chunks * size - length
    delta_c = _split(delta.reshape(batch, groups, per_group, 1, length), pad, size)
    driven = u_ if zero_order_hold else delta * u_
    input_c = _split(driven.reshape(batch, groups, per_group, 1, length), pad, size)
    B_c = _split_map(B.to(work), pad, size)
    C_c = _split_map(C.to(work), pad, size)

    local, ends = _inside_chunks(delta_c, input_c, A, B_c, C_c, zero_order_hold)
    # Sums of delta from the chunk's start: exp(A * sum) is a product of decays, never a quotient of two.
    elapsed = torch.cumsum(delta_c, 0)
    if is_tracing():
        states = _joined(elapsed[-1], A, ends, _EXPORT_BLOCKS)
    else:
        states = _combine(torch.exp(A * elapsed[-1]), ends)
    entering = F.pad(states, (1, 0))[..., :-1]
    carried = [
        (C_t * torch.exp(A * passed) * entering).sum(-2)
        for C_t, passed in zip(C_c.unbind(0), elapsed.unbind(0), strict=True)
    ]
    y = local + torch.stack(carried, -1)
    y = y.reshape(batch, channels, -1)[..., :length]
    if D is not None:
        y = y + D.to(work)[:, None] * u_
    if z is not None:
        y = y * F.silu(z.to(work))
    return y.to(u.dtype), states[..., -1].reshape(batch, channels, -1)


def _chunk_size(length: int) -> int:
    """Balance the steps inside a chunk against the number of chunks; fixed while a graph is recorded."""
    if is_tracing():
        return _EXPORT_CHUNK
    size = 4
    while size < 64 and 2 * size * size < length:
        size *= 2
    return size


def _split(x: Tensor, pad: int, size: int) -> Tensor:
    """(..., L) -> (size, ..., chunks), so that step t of all chunks is one contiguous slice."""
    x = torch.unflatten(F.pad(x, (0, pad)), -1, (-1, size))
    return x.movedim(-1, 0).contiguous()


def _split_map(x: Tensor, pad: int, size: int) -> Tensor:
    """The same for B and C; one that is constant along the length stays a view, padded steps may hold any value."""
    x = x.unsqueeze(2)
    if x.shape[-1] > 1 and x.stride(-1) == 0:
        return x[..., :1].expand(size, *x.shape[:-1], (x.shape[-1] + pad) // size)
    return _split(x, pad, size)


def _inside_chunks(delta: Tensor, inputs: Tensor, A: Tensor, B: Tensor, C: Tensor, held: bool) -> tuple[Tensor, Tensor]:
    """Outputs (..., chunks, size) and end states (..., N, chunks) of every chunk started from zero."""
    h: Tensor | None = None
    outputs = []
    steps = zip(delta.unbind(0), inputs.unbind(0), B.unbind(0), C.unbind(0), strict=True)
    for delta_t, input_t, B_t, C_t in steps:
        add = input_t * B_t * held_factor(delta_t, A) if held else input_t * B_t
        h = add if h is None else torch.exp(delta_t * A) * h + add
        outputs.append((C_t * h).sum(-2))
    assert h is not None
    return torch.stack(outputs, -1), h


def _combine(decay: Tensor, states: Tensor) -> Tensor:
    """States at the chunk ends (..., chunks) from each chunk's own decay and end state, by doubling."""
    chunks = states.shape[-1]
    shift = 1
    while shift < chunks:
        states = states + decay * F.pad(states[..., :-shift], (shift, 0))
        decay = decay * F.pad(decay[..., :-shift], (shift, 0), value=1.0)
        shift *= 2
    return states


def _joined(elapsed: Tensor, A: Tensor, states: Tensor, blocks: tuple[int, ...]) -> Tensor:
    """The same for a recorded graph, from the chunks' sums of delta (..., 1, chunks), by matrices of blocks."""
    if not blocks:
        return _by_matrix(elapsed, A, states)
    size, chunks = blocks[0], states.shape[-1]
    pad = (chunks // size + 2) * size - chunks
    elapsed_b = torch.unflatten(F.pad(elapsed, (0, pad)), -1, (-1, size))
    local = _by_matrix(elapsed_b, A.unsqueeze(-1), torch.unflatten(F.pad(states, (0, pad)), -1, (-1, size)))
    carried = _joined(elapsed_b.sum(-1), A, local[..., -1], blocks[1:])
    entering = F.pad(carried, (1, 0))[..., :-1]
    joined = local + torch.exp(A.unsqueeze(-1) * torch.cumsum(elapsed_b, -1)) * entering.unsqueeze(-1)
    return joined.flatten(-2)[..., :chunks]


def _by_matrix(elapsed: Tensor, A: Tensor, states: Tensor) -> Tensor:
    """h_t = sum over s <= t of exp(A * elapsed between s and t) states_s; each sum is made of its own terms."""
    length = states.shape[-1]
    since = torch.cumsum(elapsed.unsqueeze(-1).expand(*elapsed.shape, length).tril(-1), -2)
    decay = torch.exp(A.unsqueeze(-1) * since).tril()
    return (decay * states.unsqueeze(-2)).sum(-1)
