"""The S4 layer: one linear time-invariant state-space model a channel, applied as a long convolution."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.hippo import diagonal_start, hippo_legs, initial_log_step
from medmamba_monai.networks.layers.sequence import SequenceLayer
from medmamba_monai.ops.linear_ssm import (
    RULES,
    dense_kernel,
    diagonal_kernel,
    discretise,
    dplr_system,
    fft_convolution,
)


class S4State(NamedTuple):
    """What a stream remembers: the state h (B, H, N); the discrete maps A, B, C are kept beside it, made once."""

    h: Tensor
    A: Tensor
    B: Tensor
    C: Tensor


class DPLRKernel(nn.Module):
    """The kernel of S4 with a diagonal plus low-rank state map.

    S4 (arXiv 2111.00396), section 3. Parameter names are those of the authors' code.

    Args:
        channels: channels H, each with its own system.
        d_state: numbers in the state of a channel (N), even.
        dt_min: smallest initial step size.
        dt_max: largest initial step size.

    Shape:
        Takes a length L and returns the kernel (H, L).

    Example:
        >>> DPLRKernel(3, 8)(5).shape
        torch.Size([3, 5])

    Notes:
        The authors' code replaces C by C (1 - A^L) in its first forward and stores L in ``l_kernel``. Here nothing is
        rewritten: with ``l_kernel`` 0 C is C, else it is read as the authors' C of that length, so their checkpoints
        load and give the same kernel at any length.
    """

    l_kernel: Tensor

    def __init__(self, channels: int, d_state: int, dt_min: float = 0.001, dt_max: float = 0.1) -> None:
        super().__init__()
        half = d_state // 2
        # of each pair the authors keep the state that turns clockwise
        Lambda, P, B, _ = (x.conj() for x in hippo_legs(d_state))
        self.C = nn.Parameter(torch.view_as_real(torch.randn(1, channels, half, dtype=torch.cfloat)))
        self.inv_dt = nn.Parameter(initial_log_step(channels, dt_min, dt_max).unsqueeze(-1))
        self.A_real = nn.Parameter(torch.log(-Lambda.real[:half]).float().repeat(channels, 1))
        self.A_imag = nn.Parameter(-Lambda.imag[:half].float().repeat(channels, 1))
        self.B = nn.Parameter(_as_pairs(B[:half]).repeat(1, channels, 1, 1))
        self.P = nn.Parameter(_as_pairs(P[:half]).repeat(1, channels, 1, 1))
        self.register_buffer("l_kernel", torch.tensor(0))
        # a plain number: a recorded graph cannot choose by the value of a tensor
        self._length = 0
        self.register_load_state_dict_post_hook(_read_length)  # type: ignore[no-untyped-call]

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """The discrete maps of all channels, real, in float64: (H, N, N), (H, N), (H, N)."""
        Lambda = torch.complex(-torch.exp(self.A_real.double()), -self.A_imag.double())
        P, B, C = (torch.view_as_complex(x.double().contiguous())[0] for x in (self.P, self.B, self.C))
        A, B, C = dplr_system(Lambda, P, B, C, torch.exp(self.inv_dt.double()).squeeze(-1))
        if self._length:
            one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
            C = torch.linalg.solve((one - torch.linalg.matrix_power(A, self._length)).mT, C)
        return A, B, C

    def forward(self, length: int) -> Tensor:
        A, B, C = self.system()
        return dense_kernel(A, B, C, length).to(self.inv_dt.dtype)

    def step(self, u: Tensor, state: S4State) -> tuple[Tensor, Tensor]:
        """One step of (B, H): output and next h."""
        h = torch.einsum("hmn,bhn->bhm", state.A, state.h) + state.B * u.unsqueeze(-1)
        return (state.C * h).sum(-1), h

    def initial_state(self, batch: int) -> S4State:
        """The state before the first step."""
        A, B, C = (x.to(self.inv_dt.dtype) for x in self.system())
        return S4State(B.new_zeros(batch, *B.shape), A, B, C)


class DiagonalKernel(nn.Module):
    """The kernel of S4 with a diagonal state map, complex in conjugate pairs or real.

    S4D (arXiv 2206.11893), section 3. Parameter names are those of the authors' code.

    Args:
        channels: channels H, each with its own system.
        d_state: numbers in the state of a channel (N), even unless real.
        init: initial diagonal: "legs", "diag-lin", "diag-inv" or "diag-real".
        disc: discretisation, "zoh" or "bilinear".
        is_real: real states instead of conjugate pairs.
        dt_min: smallest initial step size.
        dt_max: largest initial step size.

    Shape:
        Takes a length L and returns the kernel (H, L).

    Example:
        >>> DiagonalKernel(3, 8)(5).shape
        torch.Size([3, 5])
    """

    def __init__(
        self, channels: int, d_state: int, init: str = "diag-lin", disc: str = "zoh", is_real: bool = False,
        dt_min: float = 0.001, dt_max: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        if disc not in RULES:
            raise ValueError(f"disc is {disc!r}: use one of {RULES}")
        self.disc = disc
        A = diagonal_start("diag-real" if is_real else init, d_state)
        C = torch.randn(1, channels, len(A), dtype=torch.float if is_real else torch.cfloat)
        self.C = nn.Parameter(C if is_real else torch.view_as_real(C))
        self.inv_dt = nn.Parameter(initial_log_step(channels, dt_min, dt_max).unsqueeze(-1))
        self.A_real = nn.Parameter(torch.log(-A.real).float().repeat(channels, 1))
        self.A_imag = None if is_real else nn.Parameter(A.imag.float().repeat(channels, 1))
        B = torch.ones_like(A)
        self.B = nn.Parameter((B.real.float() if is_real else _as_pairs(B)).repeat(1, channels, *[1] * (2 - is_real)))

    def system(self) -> tuple[Tensor, Tensor]:
        """Logarithm of the decay and the product of the maps B and C, complex128, both (H, N)."""
        real, step = -torch.exp(self.A_real.double()), torch.exp(self.inv_dt.double())
        if self.A_imag is None:
            log_decay, factor = discretise(real, step, self.disc)
            return log_decay, 2 * factor * (self.B * self.C)[0]
        log_decay, factor = discretise(torch.complex(real, -self.A_imag.double()), step, self.disc)
        B, C = (torch.view_as_complex(x.double().contiguous())[0] for x in (self.B, self.C))
        return log_decay, 2 * factor * B * C

    def forward(self, length: int) -> Tensor:
        log_decay, C = self.system()
        return diagonal_kernel(log_decay, C.to(_complex_of(self.inv_dt)), length)

    def step(self, u: Tensor, state: S4State) -> tuple[Tensor, Tensor]:
        """One step of (B, H): output and next h."""
        return diagonal_step(u, state)

    def initial_state(self, batch: int) -> S4State:
        """The state before the first step."""
        return diagonal_state(*self.system(), batch, _complex_of(self.inv_dt))


class S4Convolution(nn.Module):
    """The convolution of every channel with its kernel, and the skip D: (B, H, L) to the same shape.

    Args:
        kernel: the kernel of all channels, by length.
        channels: channels H.

    Example:
        >>> S4Convolution(DiagonalKernel(3, 4), 3)(torch.ones(2, 3, 5)).shape
        torch.Size([2, 3, 5])
    """

    def __init__(self, kernel: DPLRKernel | DiagonalKernel, channels: int) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.randn(1, channels))
        self.kernel = kernel

    def forward(self, u: Tensor) -> Tensor:
        return fft_convolution(u, self.kernel(u.shape[-1])) + u * self.D.T

    def step(self, u: Tensor, state: S4State) -> tuple[Tensor, S4State]:
        """One step of (B, H): output and next state."""
        y, h = self.kernel.step(u, state)
        return y + u * self.D, state._replace(h=h)


class S4(SequenceLayer):
    """Mix a sequence of tokens with one linear state-space model a channel, then mix the channels.

    S4 (arXiv 2111.00396); with mode "diag" S4D (arXiv 2206.11893). Parameter names and initial values are those of the
    authors' S4Block, so its checkpoints load as they are.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), even.
        mode: "dplr", diagonal plus low rank, or "diag", diagonal.
        init: initial state map: "legs"; with mode "diag" also "diag-lin" and "diag-inv".
        disc: discretisation, "bilinear" or "zoh" ("zoh" with mode "diag" only).
        is_real: with mode "diag": real states instead of conjugate pairs, started at -1 to -N.
        dt_min: smallest initial step size.
        dt_max: largest initial step size.

    Shape:
        x (B, L, d_model); returns the same shape. `step` takes (B, d_model) and a state.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> layer = S4(8, d_state=4)
        >>> y = layer(torch.ones(2, 5, 8))
        >>> token, state = layer.step(torch.ones(2, 8), layer.initial_state(2))
        >>> torch.allclose(token, y[:, 0], atol=1e-5)
        True

    Notes:
        The authors' code doubles ``d_state`` where it is real; here N is the number of states always. The kernel and
        the transform are float32 under autocast; one step of "dplr" costs N^2 a channel.
    """

    def __init__(
        self, d_model: int, d_state: int = 64, mode: str = "dplr", init: str = "legs", disc: str = "bilinear",
        is_real: bool = False, dt_min: float = 0.001, dt_max: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(d_model, d_state=d_state)
        if d_state % 2:
            raise ValueError(f"d_state is {d_state}: it must be even, states come in conjugate pairs")
        kernel: DPLRKernel | DiagonalKernel
        if mode == "dplr":
            if (init, disc, is_real) != ("legs", "bilinear", False):
                raise ValueError(
                    f"init {init!r}, disc {disc!r} and is_real {is_real} do not fit mode 'dplr': it takes 'legs', "
                    "'bilinear' and False, or use mode='diag'"
                )
            kernel = DPLRKernel(d_model, d_state, dt_min, dt_max)
        elif mode == "diag":
            kernel = DiagonalKernel(d_model, d_state, init, disc, is_real, dt_min, dt_max)
        else:
            raise ValueError(f"mode is {mode!r}: use 'dplr' or 'diag'")
        self.layer = S4Convolution(kernel, d_model)
        self.output_linear = nn.Sequential(nn.Linear(d_model, 2 * d_model), nn.GLU(-1))

    def mix(self, x: Tensor) -> Tensor:
        y: Tensor = self.output_linear(F.gelu(self.layer(x.transpose(1, 2)).transpose(1, 2)))
        return y

    def initial_state(self, batch: int) -> S4State:
        """The state of ``batch`` streams before their first token, with the maps discretised once."""
        return self.layer.kernel.initial_state(batch)

    def step(self, x: Tensor, state: S4State) -> tuple[Tensor, S4State]:
        """Take the next token of each stream, (B, d_model), and return its output and the state after it."""
        self.check_step(x)
        y, state = self.layer.step(x, state)
        return self.output_linear(F.gelu(y)), state


def _read_length(kernel: nn.Module, _: object) -> None:
    assert isinstance(kernel, DPLRKernel)
    kernel._length = int(kernel.l_kernel)


def diagonal_state(log_decay: Tensor, C: Tensor, batch: int, dtype: torch.dtype) -> S4State:
    """The state of a diagonal system before the first step; the input map is part of C."""
    A, C = torch.exp(log_decay).to(dtype), C.to(dtype)
    return S4State(C.new_zeros(batch, *C.shape), A, torch.ones_like(A), C)


def diagonal_step(u: Tensor, state: S4State) -> tuple[Tensor, Tensor]:
    """One step of a diagonal system: output and next h."""
    h = state.A * state.h + state.B * u.unsqueeze(-1)
    return (state.C * h).sum(-1).real.to(u.dtype), h


def _as_pairs(x: Tensor) -> Tensor:
    """Complex numbers as pairs of float32."""
    return torch.view_as_real(x.to(torch.cfloat).resolve_conj().contiguous())


def _complex_of(x: Tensor) -> torch.dtype:
    return torch.complex128 if x.dtype == torch.float64 else torch.complex64
