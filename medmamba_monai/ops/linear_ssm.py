"""Linear time-invariant state-space models (S4, S4D, S5): kernels, the convolution with them, and a scan.

Letters follow S4 (arXiv 2111.00396): u input, A, B, C state, input and output maps, step the step size; B is the batch
size in shapes, H the channels, L the length, N the state size. Of states in conjugate pairs one half is kept.
Small tables are made in float64: phases of thousands of radians have no digits left in float32.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops.autocast import without_autocast
from medmamba_monai.ops.backends.chunked import is_tracing

RULES = ("zoh", "bilinear")
# Sizes that stand in a recorded graph, which must hold for other lengths: bits of the number of rows, and a row.
_EXPORT_BITS = 12
_EXPORT_ROW = 512
_CHUNK = 32


def discretise(A: Tensor, step: Tensor, rule: str = "zoh") -> tuple[Tensor, Tensor]:
    """Return the logarithm of the discrete decay and the factor of the input, for a diagonal A.

    Zero-order hold: exp(step A) and (exp(step A) - 1) / A; bilinear: (1 + step A / 2) / (1 - step A / 2) and
    step / (1 - step A / 2). S4D (arXiv 2206.11893), section 3.2; S5 (arXiv 2208.04933), equation 6.

    Args:
        A: diagonal of the state map, real or complex, nowhere zero.
        step: step size, of a shape that broadcasts with A.
        rule: "zoh" or "bilinear".

    Shape:
        A and step broadcast together; both results have their shape, complex128.

    Raises:
        ValueError: when the rule is unknown.

    Example:
        >>> decay, factor = discretise(torch.tensor([-1.0]), torch.tensor([0.5]))
        >>> round(decay.exp().real.item(), 4), round(factor.real.item(), 4)
        (0.6065, 0.3935)
    """
    A, step = A.to(torch.complex128), step.double()
    if rule == "zoh":
        log_decay = step * A
        return log_decay, (torch.exp(log_decay) - 1) / A
    if rule == "bilinear":
        half = step * A / 2
        return torch.log((1 + half) / (1 - half)), step / (1 - half)
    raise ValueError(f"rule {rule!r} is unknown: use one of {RULES}")


def diagonal_kernel(log_decay: Tensor, C: Tensor, length: int) -> Tensor:
    """The kernel Re sum_n C_n exp(l log_decay_n) for l = 0 to L - 1, without a tensor of all states and steps.

    S4D (arXiv 2206.11893), equation 8 (Vandermonde product): l = i m + j makes it a product of two small tables.

    Args:
        log_decay: logarithm of the discrete decay of each state.
        C: output map times input map of each state; twice that for one half of conjugate pairs.
        length: number of steps, at least 1.

    Shape:
        log_decay, C (H, N) complex; returns (H, L) in float32, or float64 if C is complex128 or float64.

    Example:
        >>> diagonal_kernel(torch.log(torch.tensor([[0.5 + 0j]])), torch.tensor([[8.0 + 0j]]), 4)
        tensor([[8., 4., 2., 1.]])
    """
    work = torch.float64 if C.dtype in (torch.complex128, torch.float64) else torch.float32
    size = 64 if is_tracing() else 2 ** math.ceil(math.log2(max(length, 1)) / 2)
    rows = length // size + (2 if is_tracing() else 1)
    log_decay = log_decay.to(torch.complex128).unsqueeze(-1)
    place = torch.arange(size, device=C.device)
    row = torch.arange(rows, device=C.device) * size
    fast = torch.exp(log_decay * place)
    slow = C.to(torch.complex128).unsqueeze(-1) * torch.exp(log_decay * row)
    left = torch.cat((slow.real, -slow.imag), 1).to(work).mT
    right = torch.cat((fast.real, fast.imag), 1).to(work)
    with without_autocast(C):
        return (left @ right).flatten(1)[:, :length]


def dplr_system(Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Discretise A = Lambda - P P* by the bilinear rule and return real matrices: state, input and output map.

    S4 (arXiv 2111.00396), equations 3 and 6 and appendix C. A state and its conjugate are replaced by the real and the
    imaginary part, which makes all matrices real.

    Args:
        Lambda: diagonal part.
        P: low-rank part.
        B: input map.
        C: output map.
        step: step size of each channel.

    Shape:
        Lambda, P, B, C (H, N / 2) complex; step (H). Returns (H, N, N), (H, N), (H, N) in float64.

    Example:
        >>> one = torch.ones(1, 1, dtype=torch.complex64)
        >>> A, B, C = dplr_system(-one, 0 * one, one, one, torch.tensor([2.0]))
        >>> B.tolist(), C.tolist()
        ([[1.0, 0.0]], [[2.0, -0.0]])
    """
    Lambda, P, B, C = (x.to(torch.complex128) for x in (Lambda, P, B, C))
    turn = torch.diag_embed(Lambda.imag)
    keep = torch.diag_embed(Lambda.real)
    q = torch.cat((P.real, P.imag), -1)
    A = torch.cat((torch.cat((keep, -turn), -1), torch.cat((turn, keep), -1)), -2)
    A = A - 2 * q.unsqueeze(-1) * q.unsqueeze(-2)
    one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    half = step.double()[:, None, None] / 2 * A
    b = torch.cat((B.real, B.imag), -1) * step.double()[:, None]
    solved = torch.linalg.solve(one - half, torch.cat((one + half, b.unsqueeze(-1)), -1))
    return solved[..., :-1], solved[..., -1], 2 * torch.cat((C.real, -C.imag), -1)


def dense_kernel(A: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """The kernel C A^l B for l = 0 to L - 1 of dense discrete systems.

    S4 (arXiv 2111.00396), equation 5. With l = i m + j the kernel is a product of the rows C A^(i m) and the columns
    A^j B, each found by squaring A.

    Args:
        A: state map.
        B: input map.
        C: output map.
        length: number of steps, at least 1.

    Shape:
        A (H, N, N); B, C (H, N); returns (H, L) in the dtype of A.

    Example:
        >>> one = torch.ones(1, 1)
        >>> dense_kernel(0.5 * one[None], one, 8 * one, 4)
        tensor([[8., 4., 2., 1.]])

    Notes:
        The authors reach the same kernel through a Cauchy product on the roots of unity, which needs C (1 - A^L).
    """
    bits = int(math.log2(_EXPORT_ROW)) if is_tracing() else math.ceil(math.log2(max(length, 1)) / 2)
    columns, power = B.unsqueeze(-1), A
    for _ in range(bits):
        columns, power = torch.cat((columns, power @ columns), -1), power @ power
    rows = length // columns.shape[-1] + (2 if is_tracing() else 1)
    row = torch.arange(rows, device=A.device)
    left = C.unsqueeze(1).expand(-1, rows, -1)
    for bit in range(_EXPORT_BITS if is_tracing() else (rows - 1).bit_length()):
        taken = (row >> bit) % 2 == 1
        left = torch.where(taken[:, None], left @ power, left)
        power = power @ power
    return (left @ columns).flatten(1)[:, :length]


def fft_convolution(u: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution of every channel with a kernel as long as the input: y_t = sum_j kernel_j u_(t - j).

    S4 (arXiv 2111.00396), section 2.4; the cost is L log L.

    Args:
        u: input.
        kernel: one kernel a channel.

    Shape:
        u (B, H, L), kernel (H, L); returns (B, H, L) in u's dtype. The transform runs in float32 at least.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> fft_convolution(torch.tensor([[[1.0, 0.0, 2.0]]]), torch.tensor([[1.0, 0.5, 0.25]])).round(decimals=4)
        tensor([[[1.0000, 0.5000, 2.2500]]])
    """
    if u.dim() != 3 or tuple(kernel.shape) != tuple(u.shape[1:]):
        raise ValueError(f"kernel has shape {tuple(kernel.shape)}: u {tuple(u.shape)} takes (channels, length) of it")
    length, work = u.shape[-1], torch.promote_types(u.dtype, torch.float32)
    with without_autocast(u):
        # twice the length keeps the end from wrapping around into the start
        spectrum = torch.fft.rfft(u.to(work), n=2 * length) * torch.fft.rfft(kernel.to(work), n=2 * length)
        y: Tensor = torch.fft.irfft(spectrum, n=2 * length)
    return y[..., :length].to(u.dtype)


def diagonal_scan(x: Tensor, log_decay: Tensor, initial_state: Tensor | None = None) -> Tensor:
    """Run h_t = exp(log_decay) h_{t-1} + x_t with one constant complex decay a state, by matrix products in chunks.

    S5 (arXiv 2208.04933), section 2.2, which uses an associative scan instead.

    Args:
        x: input of each state.
        log_decay: logarithm of the discrete decay of each state.
        initial_state: state before the first step, zero if None.

    Shape:
        x (N, B, L) complex; log_decay (N); initial_state (N, B). Returns the states (N, B, L) in x's dtype.

    Example:
        >>> diagonal_scan(torch.ones(1, 1, 3, dtype=torch.complex64), torch.log(torch.tensor([0.5 + 0j]))).real
        tensor([[[1.0000, 1.5000, 1.7500]]])
    """
    if initial_state is not None:
        first = initial_state.to(x.dtype) * torch.exp(log_decay).to(x.dtype)[:, None]
        x = torch.cat((x[..., :1] + first.unsqueeze(-1), x[..., 1:]), -1)
    with without_autocast(x):
        return _diagonal_scan(x, log_decay.to(torch.complex128), depth=2)


def _diagonal_scan(x: Tensor, log_decay: Tensor, depth: int) -> Tensor:
    length = x.shape[-1]
    # A recorded graph nests twice, whatever its length; its last level is one matrix.
    last = depth == 0 if is_tracing() else length <= _CHUNK
    size = length if last else _CHUNK
    place = torch.arange(size, device=x.device)
    since = place[:, None] - place
    table = torch.where(since >= 0, torch.exp(log_decay[:, None, None] * since.clamp(min=0)), 0).to(x.dtype)
    if last:
        return x @ table.mT
    blocks = length // size + 2 if is_tracing() else -(-length // size)
    parts = torch.unflatten(F.pad(x, (0, blocks * size - length)), -1, (-1, size))
    local = (parts.flatten(1, 2) @ table.mT).reshape(parts.shape)
    ends = _diagonal_scan(local[..., -1], log_decay * size, depth - 1)
    entering = F.pad(ends, (1, 0))[..., :-1].unsqueeze(-1)
    decay = torch.exp(log_decay[:, None] * (place + 1)).to(x.dtype)
    return (local + decay[:, None, None] * entering).flatten(2)[..., :length]
