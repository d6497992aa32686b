"""The scan of Mamba-2: one decay a head, computed in chunks by matrix products (state-space duality, SSD).

Letters follow Mamba-2 (arXiv 2405.21060): x input, dt step size, A decay, B and C input and output maps, D skip, z
gate; B is the batch size in shapes, L the length, H the heads, P the channels of a head, N the state size, G the groups
of heads that share B and C, R the rank (inputs and outputs a step, 1 but for the MIMO form of Mamba-3).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops.autocast import without_autocast
from medmamba_monai.ops.backends import triton_dual
from medmamba_monai.ops.backends.chunked import is_tracing

# Chunk states are joined in blocks of so many, blocks of blocks the same way: the cost stays linear in the length.
_BLOCK = 32
# Longer sequences are taken piece by piece: the matrices of one piece stay in the processor's cache.
_PIECE = 8192


def state_space_dual(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] | None = None,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    *,
    chunk_size: int = 64,
) -> Tensor | tuple[Tensor, Tensor]:
    """Run h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T, y_t = h_t C_t + D x_t along the length of every head.

    Mamba-2 (arXiv 2405.21060), section 6: block decomposition of the semiseparable matrix.

    Args:
        x: input.
        dt: step sizes before the bias and the softplus.
        A: decay rate of each head, negative for a stable state.
        B: input map of each group of heads.
        C: output map of each group of heads.
        D: skip weight of each head or of each of its channels, or None.
        z: gate: the output is multiplied by silu(z); or None.
        dt_bias: added to dt, or None.
        dt_softplus: apply softplus to dt after the bias.
        dt_limit: smallest and largest step size after that, or None.
        initial_state: state before the first step, zero if None.
        return_last_state: also return the state after the last step.
        chunk_size: steps joined by one matrix product, at least 1.

    Shape:
        x, z (B, L, H, P); dt (B, L, H); A, dt_bias (H); D (H) or (H, P); B, C (B, L, G, N); initial_state
        (B, H, P, N). Returns (B, L, H, P) in x's dtype, and with return_last_state the state (B, H, P, N) in float32.

    Raises:
        ValueError: when a shape or the chunk size does not fit.

    Example:
        >>> ones = torch.ones(1, 3, 1, 1)
        >>> state_space_dual(ones, ones[..., 0], torch.zeros(1), ones, ones).flatten()
        tensor([1., 2., 3.])

    Notes:
        The state is float32 whatever the dtype of x or autocast (float64 for float64 inputs).
    """
    _check(x, dt, A, B, C, D, z, dt_bias)
    with without_autocast(x):
        work = torch.promote_types(x.dtype, torch.float32)
        dt = dt.to(work)
        if dt_bias is not None:
            dt = dt + dt_bias.to(work)
        if dt_softplus:
            dt = F.softplus(dt)
        if dt_limit is not None:
            dt = dt.clamp(*dt_limit)
        x_ = x.to(work)
        y, state = scalar_decay_scan(x_ * dt.unsqueeze(-1), dt * A.to(work), B, C, initial_state, chunk_size=chunk_size)
        if D is not None:
            y = y + x_ * (D.to(work).unsqueeze(-1) if D.dim() == 1 else D.to(work))
        if z is not None:
            y = y * F.silu(z.to(work))
    return (y.to(x.dtype), state) if return_last_state else y.to(x.dtype)


def scalar_decay_scan(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None = None, *, chunk_size: int = 64
) -> tuple[Tensor, Tensor]:
    """Run h_t = exp(log_decay_t) h_{t-1} + sum_r x_tr B_tr^T, y_tr = h_t C_tr and return (y, last state).

    Mamba-2 (arXiv 2405.21060), listing 1; the sum over the rank r is Mamba-3's (arXiv 2603.15569).

    Args:
        x: input, the step size multiplied in.
        log_decay: logarithm of the decay of each step and head, at most 0 for a stable state.
        B: input map of each group of heads.
        C: output map of each group of heads.
        initial_state: state before the first step, zero if None.
        chunk_size: steps joined by one matrix product, at least 1; Triton's kernels, on a GPU, choose it themselves.

    Shape:
        x (B, L, H, P); log_decay (B, L, H); B, C (B, L, G, N); initial_state (B, H, P, N). With a rank x is
        (B, L, R, H, P), B and C (B, L, R, G, N). Returns y in the shape of x and the state (B, H, P, N), both in
        float32 (float64 for float64 inputs).

    Raises:
        ValueError: when the chunk size is below 1 or the groups do not divide the heads.

    Example:
        >>> ones = torch.ones(1, 3, 1, 1)
        >>> y, state = scalar_decay_scan(ones, torch.zeros(1, 3, 1), ones, ones)
        >>> y.flatten().tolist(), state.item()
        ([1.0, 2.0, 3.0], 3.0)
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}: it must be at least 1")
    if x.shape[-2] % B.shape[-2]:
        raise ValueError(f"B has {B.shape[-2]} groups: they must divide the {x.shape[-2]} heads of x")
    ranked = x.dim() == 5
    if not ranked and triton_dual.serves(x, B):
        y, state, _ = triton_dual.triton_dual_scan(x, log_decay, B, C, initial_state)
        return y, state
    if not ranked:
        x, B, C = x.unsqueeze(2), B.unsqueeze(2), C.unsqueeze(2)
    piece = x.shape[1] if is_tracing() else min(_PIECE, x.shape[1])
    outputs, state = [], initial_state
    with without_autocast(x):
        for x_p, decay_p, B_p, C_p in zip(*(t.split(piece, 1) for t in (x, log_decay, B, C)), strict=True):
            y, state = _scan(x_p, decay_p, B_p, C_p, state, chunk_size)
            outputs.append(y)
    y = torch.cat(outputs, 1)
    assert state is not None
    return (y if ranked else y.squeeze(2)), state


def _scan(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, initial: Tensor | None, chunk_size: int
) -> tuple[Tensor, Tensor]:
    work = torch.promote_types(x.dtype, torch.float32)
    batch, length, rank, heads, width = x.shape
    groups = B.shape[3]
    # A recorded graph must hold for other lengths: their chunks are a plain expression of the length, and never one.
    size = chunk_size if is_tracing() else min(chunk_size, length)
    chunks = length // size + 2 if is_tracing() else -(-length // size)
    pad = chunks * size - length
    # Padded steps have decay 1 and input 0: they keep the state.
    x_c = _chunks(x.to(work), groups, pad, size)
    B_c = _chunks(B.to(work), groups, pad, size)
    C_c = _chunks(C.to(work), groups, pad, size)
    decay_c = _chunks(log_decay.to(work)[:, :, None, :, None], groups, pad, size).squeeze(-1)

    since = torch.exp(segment_sums(decay_c))
    inside = since if rank == 1 else since.repeat_interleave(rank, -1).repeat_interleave(rank, -2)
    y = (inside * (C_c @ B_c.mT)) @ x_c
    to_end = inside[..., -1, :].unsqueeze(-1)
    ends = (x_c * to_end).mT @ B_c
    elapsed = torch.cumsum(decay_c, -1)
    entering, state = _carry(elapsed[..., -1], ends, initial)
    passed = torch.exp(elapsed if rank == 1 else elapsed.repeat_interleave(rank, -1))
    y = y + passed.unsqueeze(-1) * (C_c @ entering.mT)

    y = torch.unflatten(y.flatten(1, 2), 3, (size, rank))
    y = y.permute(0, 2, 3, 4, 1, 5).reshape(batch, chunks * size, rank, heads, width)
    return y[:, :length], state.reshape(batch, heads, width, -1)


def _chunks(x: Tensor, groups: int, pad: int, size: int) -> Tensor:
    """(B, L, R, G K, F) -> (B, G, K, chunks, size R, F)."""
    x = torch.unflatten(F.pad(x, (0, 0, 0, 0, 0, 0, 0, pad)), 1, (-1, size))
    x = torch.unflatten(x, 4, (groups, -1))
    return x.permute(0, 4, 5, 1, 2, 3, 6).flatten(4, 5)


def segment_sums(x: Tensor) -> Tensor:
    """Sums of x over j < k <= i as a matrix (..., i, j), minus infinity above the diagonal.

    Each sum is made of its own terms: the difference of two long sums would lose the small ones.

    Example:
        >>> segment_sums(torch.tensor([1.0, 2.0, 3.0]))
        tensor([[0., -inf, -inf],
                [2., 0., -inf],
                [5., 3., 0.]])
    """
    place = torch.arange(x.shape[-1], device=x.device)
    before = place[:, None] > place
    terms = torch.where(before, x.unsqueeze(-1), torch.zeros((), dtype=x.dtype, device=x.device))
    return torch.cumsum(terms, -2).masked_fill(place[:, None] < place, -torch.inf)


def _carry(log_decay: Tensor, ends: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
    """States entering every chunk (..., chunks, P, N) and the last one, from each chunk's own decay and end state."""
    shape = ends.shape[-2:]
    if initial is None:
        first = torch.zeros_like(ends[..., :1, :, :])
    else:
        first = initial.to(ends.dtype).reshape(*ends.shape[:3], 1, *shape)
    # The initial state is the end of a chunk before the first, whose own decay does not matter.
    states = joined(F.pad(log_decay, (1, 0)), torch.cat((first, ends), -3).flatten(-2))
    states = torch.unflatten(states, -1, shape)
    return states[..., :-1, :, :], states[..., -1, :, :]


def joined(log_decay: Tensor, x: Tensor) -> Tensor:
    """Run h_t = exp(log_decay_t) h_{t-1} + x_t for decays (..., T) and inputs (..., T, F), by matrix products."""
    length = x.shape[-2]
    if is_tracing():
        size, blocks = _BLOCK // 2, length // (_BLOCK // 2) + 2
    elif length <= _BLOCK:
        return torch.exp(segment_sums(log_decay)) @ x
    else:
        size, blocks = _BLOCK, -(-length // _BLOCK)
    pad = blocks * size - length
    decay_b = torch.unflatten(F.pad(log_decay, (0, pad)), -1, (-1, size))
    local = torch.exp(segment_sums(decay_b)) @ torch.unflatten(F.pad(x, (0, 0, 0, pad)), -2, (-1, size))
    total = decay_b.sum(-1)
    # A recorded graph cannot nest as deep as the length asks: there the blocks meet in one matrix.
    ends = local[..., -1, :]
    carried = torch.exp(segment_sums(total)) @ ends if is_tracing() else joined(total, ends)
    entering = F.pad(carried, (0, 0, 1, 0))[..., :-1, :]
    h = local + torch.exp(torch.cumsum(decay_b, -1)).unsqueeze(-1) * entering.unsqueeze(-2)
    return h.flatten(-3, -2)[..., :length, :]


def _check(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
) -> None:
    if x.dim() != 4 or 0 in x.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}: give (batch, length, heads, channels), each at least 1")
    batch, length, heads, width = x.shape
    wanted: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "dt": (dt, (batch, length, heads)),
        "A": (A, (heads,)),
        "dt_bias": (dt_bias, (heads,)),
        "z": (z, (batch, length, heads, width)),
    }
    for name, (value, shape) in wanted.items():
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}: it must be {shape}, to fit x {tuple(x.shape)}")
    if D is not None and tuple(D.shape) not in ((heads,), (heads, width)):
        raise ValueError(f"D has shape {tuple(D.shape)}: it must be ({heads},) or ({heads}, {width})")
    for name, value in (("B", B), ("C", C)):
        if value.dim() != 4 or tuple(value.shape[:2]) != (batch, length) or value.shape != B.shape:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}: B and C must both be ({batch}, {length}, groups, states)"
            )
