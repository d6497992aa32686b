"""The S5 layer: one linear time-invariant state-space model for all channels together."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.hippo import hippo_legs, initial_log_step
from medmamba_monai.networks.layers.s4 import S4State
from medmamba_monai.networks.layers.sequence import SequenceLayer
from medmamba_monai.ops.linear_ssm import diagonal_scan, discretise


class S5System(nn.Module):
    """The state-space model of S5: diagonal state, one input and one output map for all channels.

    S5 (arXiv 2208.04933), section 3. Parameter names are those of the PyTorch port; complex numbers are pairs.

    Args:
        channels: channels H.
        d_state: states P; with conj_sym one half of them is kept, each standing for a conjugate pair.
        blocks: HiPPO blocks of the initial diagonal; they divide d_state.
        conj_sym: keep one of each conjugate pair.
        bidirectional: a second scan from the end, with its own output map.
        disc: discretisation, "zoh" or "bilinear".
        dt_min: smallest initial step size.
        dt_max: largest initial step size.

    Shape:
        u (B, L, H); returns the same shape.

    Example:
        >>> S5System(3, 8)(torch.ones(2, 5, 3)).shape
        torch.Size([2, 5, 3])
    """

    def __init__(
        self, channels: int, d_state: int, blocks: int = 1, conj_sym: bool = False, bidirectional: bool = False,
        disc: str = "zoh", dt_min: float = 0.001, dt_max: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conj_sym, self.bidirectional, self.disc = conj_sym, bidirectional, disc
        size = d_state // blocks
        kept = size // 2 if conj_sym else size
        Lambda, _, _, V = hippo_legs(size)
        V = torch.block_diag(*[V[:, :kept]] * blocks)
        B = torch.randn(d_state, channels, dtype=torch.float64) / math.sqrt(channels)
        directions = 2 if bidirectional else 1
        C = torch.randn(directions, channels, d_state, dtype=torch.complex128) / math.sqrt(d_state)
        self.Lambda = nn.Parameter(_as_pairs(Lambda[:kept].repeat(blocks)))
        self.B = nn.Parameter(_as_pairs(V.mH @ B.to(V.dtype)))
        self.C = nn.Parameter(_as_pairs(torch.cat(list(C @ V), -1)))
        self.D = nn.Parameter(torch.rand(channels))
        self.log_step = nn.Parameter(initial_log_step(len(self.Lambda), dt_min, dt_max))

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithm of the decay (P), input map (P, H) and output map (H, P or 2 P), complex128."""
        Lambda, B, C = (torch.view_as_complex(x.double().contiguous()) for x in (self.Lambda, self.B, self.C))
        log_decay, factor = discretise(Lambda, torch.exp(self.log_step.double()), self.disc)
        return log_decay, factor.unsqueeze(-1) * B, 2 * C if self.conj_sym else C

    def forward(self, u: Tensor) -> Tensor:
        work = torch.promote_types(u.dtype, torch.float32)
        u_ = u.to(work)
        log_decay, B, C = self.system()
        driven = torch.view_as_real(B).to(work).permute(0, 2, 1).flatten(0, 1) @ u_.flatten(0, 1).mT
        driven = driven.reshape(len(log_decay), 2, *u.shape[:2]).movedim(1, -1).contiguous()
        x = torch.view_as_complex(driven)
        h = diagonal_scan(x, log_decay)
        if self.bidirectional:
            h = torch.cat((h, diagonal_scan(x.flip(-1), log_decay).flip(-1)))
        return (self._read(C, h.flatten(1), work).mT.reshape(u.shape) + u_ * self.D).to(u.dtype)

    @staticmethod
    def _read(C: Tensor, h: Tensor, work: torch.dtype) -> Tensor:
        """The real part of C h, by a product of real matrices."""
        return torch.cat((C.real, -C.imag), -1).to(work) @ torch.cat((h.real, h.imag)).to(work)


class S5(SequenceLayer):
    """Mix a sequence of tokens with one linear state-space model for all channels.

    S5 (arXiv 2208.04933), section 3. Parameter names are those of the PyTorch port; its checkpoints load through
    `medmamba_monai.weights.convert`.

    Args:
        d_model: channels of a token, at least 1.
        d_state: states P of the model; even with conj_sym.
        blocks: HiPPO blocks of the initial diagonal; they divide d_state.
        conj_sym: keep one of each pair of conjugate states, as the paper does.
        bidirectional: add a scan from the end to the start, with its own output map.
        disc: discretisation, "zoh" or "bilinear".
        dt_min: smallest initial step size.
        dt_max: largest initial step size.

    Shape:
        x (B, L, d_model); returns the same shape. `step` takes (B, d_model) and a state.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> layer = S5(8, d_state=4)
        >>> y = layer(torch.ones(2, 5, 8))
        >>> token, state = layer.step(torch.ones(2, 8), layer.initial_state(2))
        >>> torch.allclose(token, y[:, 0], atol=1e-5)
        True

    Notes:
        The layer is linear; a nonlinearity belongs to the block around it. The authors' code is JAX; the port compared
        with keeps all states (``conj_sym=False``). All weights are real tensors, complex ones as pairs, so that casts
        and averages of weights treat them like others.
    """

    def __init__(
        self, d_model: int, d_state: int = 64, blocks: int = 1, conj_sym: bool = True, bidirectional: bool = False,
        disc: str = "zoh", dt_min: float = 0.001, dt_max: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(d_model, d_state=d_state, blocks=blocks)
        if d_state % blocks or (conj_sym and d_state // blocks % 2):
            pairs = "an even multiple" if conj_sym else "a multiple"
            raise ValueError(f"d_state is {d_state}: it must be {pairs} of the {blocks} blocks")
        self.seq = S5System(d_model, d_state, blocks, conj_sym, bidirectional, disc, dt_min, dt_max)

    def mix(self, x: Tensor) -> Tensor:
        y: Tensor = self.seq(x)
        return y

    def initial_state(self, batch: int) -> S4State:
        """The state of ``batch`` streams before their first token, with the maps discretised once."""
        if self.seq.bidirectional:
            raise ValueError("bidirectional is True: a stream has no end to start from; build S5 with False")
        log_decay, B, C = self.seq.system()
        dtype = torch.complex128 if self.seq.D.dtype == torch.float64 else torch.complex64
        A, B, C = torch.exp(log_decay).to(dtype), B.to(dtype), C.to(dtype)
        return S4State(A.new_zeros(batch, len(A)), A, B, C)

    def step(self, x: Tensor, state: S4State) -> tuple[Tensor, S4State]:
        """Take the next token of each stream, (B, d_model), and return its output and the state after it."""
        self.check_step(x)
        h = state.A * state.h + x.to(state.B.dtype) @ state.B.T
        return (h @ state.C.T).real.to(x.dtype) + x * self.seq.D, state._replace(h=h)


def _as_pairs(x: Tensor) -> Tensor:
    """Complex numbers as pairs of float32."""
    return torch.view_as_real(x.to(torch.cfloat).resolve_conj().contiguous())
