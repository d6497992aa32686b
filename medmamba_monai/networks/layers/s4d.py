"""The stand-alone S4D layer: diagonal state maps, zero-order hold, the input map inside the output map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.hippo import diagonal_start, initial_log_step
from medmamba_monai.networks.layers.s4 import S4State, diagonal_state, diagonal_step
from medmamba_monai.networks.layers.sequence import SequenceLayer
from medmamba_monai.ops.linear_ssm import diagonal_kernel, discretise, fft_convolution


class S4DKernel(nn.Module):
    """The kernel of S4D: 2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(l dt A_n).

    S4D (arXiv 2206.11893), listing 1. Parameter names are those of the authors' stand-alone code.

    Args:
        channels: channels H, each with its own system.
        d_state: numbers in the state of a channel (N), even.
        init: initial diagonal: "diag-lin", "diag-inv" or "legs".
        dt_min: smallest initial step size.
        dt_max: largest initial step size.

    Shape:
        Takes a length L and returns the kernel (H, L).

    Example:
        >>> S4DKernel(3, 8)(5).shape
        torch.Size([3, 5])
    """

    def __init__(
        self, channels: int, d_state: int, init: str = "diag-lin", dt_min: float = 0.001, dt_max: float = 0.1
    ) -> None:
        super().__init__()
        A = diagonal_start(init, d_state)
        self.C = nn.Parameter(torch.view_as_real(torch.randn(channels, d_state // 2, dtype=torch.cfloat)))
        self.log_dt = nn.Parameter(initial_log_step(channels, dt_min, dt_max))
        self.log_A_real = nn.Parameter(torch.log(-A.real).float().repeat(channels, 1))
        self.A_imag = nn.Parameter(A.imag.float().repeat(channels, 1))

    def system(self) -> tuple[Tensor, Tensor]:
        """Logarithm of the decay and the output map with the input factor in it, complex128, both (H, N / 2)."""
        A = torch.complex(-torch.exp(self.log_A_real.double()), self.A_imag.double())
        log_decay, factor = discretise(A, torch.exp(self.log_dt.double()).unsqueeze(-1), "zoh")
        return log_decay, 2 * factor * torch.view_as_complex(self.C.double().contiguous())

    def forward(self, length: int) -> Tensor:
        log_decay, C = self.system()
        return diagonal_kernel(log_decay, C.to(self.dtype), length)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the state."""
        return torch.complex128 if self.C.dtype == torch.float64 else torch.complex64


class S4D(SequenceLayer):
    """Mix a sequence of tokens with one diagonal state-space model a channel, then mix the channels.

    S4D (arXiv 2206.11893), listing 1. Parameter names and initial values are those of the authors' stand-alone layer,
    so its checkpoints load as they are.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), even.
        dropout: chance to drop a whole channel in front of the output layer, while training.
        init: initial diagonal: "diag-lin", "diag-inv" or "legs".
        dt_min: smallest initial step size.
        dt_max: largest initial step size.

    Shape:
        x (B, L, d_model); returns the same shape. `step` takes (B, d_model) and a state.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> layer = S4D(8, d_state=4).eval()
        >>> y = layer(torch.ones(2, 5, 8))
        >>> token, state = layer.step(torch.ones(2, 8), layer.initial_state(2))
        >>> torch.allclose(token, y[:, 0], atol=1e-5)
        True

    Notes:
        The authors' layer takes (B, d_model, L) unless told otherwise and returns a pair; this one returns the output.
    """

    def __init__(
        self, d_model: int, d_state: int = 64, dropout: float = 0.0, init: str = "diag-lin", dt_min: float = 0.001,
        dt_max: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(d_model, d_state=d_state)
        if d_state % 2:
            raise ValueError(f"d_state is {d_state}: it must be even, states come in conjugate pairs")
        self.D = nn.Parameter(torch.randn(d_model))
        self.kernel = S4DKernel(d_model, d_state, init, dt_min, dt_max)
        self.dropout = nn.Dropout1d(dropout)
        self.output_linear = nn.Sequential(nn.Conv1d(d_model, 2 * d_model, 1), nn.GLU(-2))

    def mix(self, x: Tensor) -> Tensor:
        u = x.transpose(1, 2)
        y = fft_convolution(u, self.kernel(u.shape[-1])) + u * self.D[:, None]
        return self._finish(y).transpose(1, 2)

    def initial_state(self, batch: int) -> S4State:
        """The state of ``batch`` streams before their first token, with the maps discretised once."""
        return diagonal_state(*self.kernel.system(), batch, self.kernel.dtype)

    def step(self, x: Tensor, state: S4State) -> tuple[Tensor, S4State]:
        """Take the next token of each stream, (B, d_model), and return its output and the state after it."""
        self.check_step(x)
        y, h = diagonal_step(x, state)
        return self._finish((y + x * self.D).unsqueeze(-1)).squeeze(-1), state._replace(h=h)

    def _finish(self, y: Tensor) -> Tensor:
        result: Tensor = self.output_linear(self.dropout(F.gelu(y)))
        return result
