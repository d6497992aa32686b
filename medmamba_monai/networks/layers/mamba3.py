"""The Mamba-3 layer: one projection and a scan with trapezoidal input and rotating state; no short convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import initial_dt_bias
from medmamba_monai.networks.layers.sequence import GatedRMSNorm, SequenceLayer, resolve_headdim
from medmamba_monai.ops.mamba3 import Mamba3State, mamba3_scan

DECAYS = ("heavy_tail", "softplus")


class Mamba3(SequenceLayer):
    """Mix a sequence of tokens with a state-space model whose state rotates.

    Mamba-3 (arXiv 2603.15569), section 3 and figure 2. Parameter names and initial values are those of the authors'
    package.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), even.
        expand: the inner width is ``int(expand * d_model)``.
        headdim: channels of a head, or "auto" for the largest divisor of the inner width up to 64.
        ngroups: groups of heads that share the maps B and C; it divides the heads.
        rope_fraction: part of the state that rotates, 0.5 or 1.
        is_mimo: several inputs and outputs a step.
        mimo_rank: how many, with is_mimo.
        outproj_norm: normalise each head before the gate.
        decay: how A follows from the token: "heavy_tail" or "softplus".
        A_floor: smallest size of a decay rate.
        dt_min: smallest initial step size.
        dt_max: largest initial step size.
        chunk_size: steps joined by one matrix product, divided by the rank with is_mimo.

    Shape:
        x (B, L, d_model); returns the same shape. `step` takes (B, d_model) and a state.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> layer = Mamba3(8, d_state=4)
        >>> y = layer(torch.ones(2, 5, 8))
        >>> token, state = layer.step(torch.ones(2, 8), layer.initial_state(2))
        >>> torch.allclose(token, y[:, 0], atol=1e-5)
        True

    Notes:
        Built from the equations of the paper and facts of the authors' code; no checkpoint was compared with. Four
        points are ambiguous. One release of the code lets A be -softplus(a), a later one -(1 + a) for a >= 0 and
        -1 / (1 - a) below ("heavy_tail", the default here). The code sums rates pi tanh(theta) dt into
        angles; the paper writes theta dt. One input pairs adjacent states, MIMO pairs i with i + N / 2, as the
        authors' compiled kernels do; their own step-by-step MIMO test pairs adjacent ones. trap weighs the present
        input, so that 1 is Mamba-2's rule.
    """

    def __init__(
        self, d_model: int, d_state: int = 128, expand: float = 2, headdim: int | str = "auto", ngroups: int = 1,
        rope_fraction: float = 0.5, is_mimo: bool = False, mimo_rank: int = 4, outproj_norm: bool = False,
        decay: str = "heavy_tail", A_floor: float = 1e-4, dt_min: float = 0.001, dt_max: float = 0.1,
        chunk_size: int = 64,
    ) -> None:  # fmt: skip
        super().__init__(d_model, d_state=d_state, ngroups=ngroups, mimo_rank=mimo_rank, chunk_size=chunk_size)
        self.d_state, self.d_inner, self.ngroups = d_state, int(expand * d_model), ngroups
        self.rank, self.is_mimo, self.decay, self.A_floor = mimo_rank if is_mimo else 1, is_mimo, decay, A_floor
        self._check(expand, rope_fraction, (dt_min, dt_max))
        self.headdim = resolve_headdim(headdim, self.d_inner)
        self.nheads = self.d_inner // self.headdim
        if self.nheads % ngroups:
            raise ValueError(f"ngroups is {ngroups}: it must divide the {self.nheads} heads")
        self.pairs = int(d_state * rope_fraction) // 2
        self.chunk_size = max(1, chunk_size // self.rank)
        inner, heads, maps = self.d_inner, self.nheads, self.rank * ngroups * d_state
        self._parts = [inner, inner, maps, maps, heads, heads, heads, self.pairs]
        self.in_proj = nn.Linear(d_model, sum(self._parts), bias=False)
        self.dt_bias = nn.Parameter(initial_dt_bias((heads,), dt_min, dt_max))
        self.B_bias = nn.Parameter(torch.ones(heads, self.rank, d_state))
        self.C_bias = nn.Parameter(torch.ones(heads, self.rank, d_state))
        self.B_norm, self.C_norm = GatedRMSNorm(d_state), GatedRMSNorm(d_state)
        if is_mimo:
            spread = torch.ones(heads, self.rank, self.headdim)
            self.mimo_x = nn.Parameter(spread / self.rank)
            self.mimo_z = nn.Parameter(spread.clone())
            self.mimo_o = nn.Parameter(spread / self.rank)
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = GatedRMSNorm(inner, self.headdim, norm_before_gate=True) if outproj_norm else None
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def _check(self, expand: float, rope_fraction: float, dt: tuple[float, float]) -> None:
        if self.d_inner < 1:
            raise ValueError(f"expand is {expand}: the inner width int(expand * {self.d_model}) must be at least 1")
        if rope_fraction not in (0.5, 1):
            raise ValueError(f"rope_fraction is {rope_fraction}: use 0.5 or 1")
        if self.d_state % 2 or self.d_state * rope_fraction < 2:
            raise ValueError(f"d_state is {self.d_state}: it must be even and hold a pair in its rotating part")
        if self.decay not in DECAYS:
            raise ValueError(f"decay is {self.decay!r}: use one of {DECAYS}")
        if not 0 < dt[0] <= dt[1]:
            raise ValueError(f"dt_min is {dt[0]} and dt_max {dt[1]}: give 0 < dt_min <= dt_max")

    def mix(self, x: Tensor) -> Tensor:
        return self._run(x, None)[0]

    def initial_state(self, batch: int) -> Mamba3State:
        """The state of ``batch`` streams before their first token."""
        heads, width = self.nheads, self.headdim
        return Mamba3State(
            self.D.new_zeros(batch, heads, self.pairs),
            self.D.new_zeros(batch, heads, width, self.d_state),
            self.D.new_zeros(batch, self.rank, heads, self.d_state),
            self.D.new_zeros(batch, self.rank, heads, width),
        )

    def step(self, x: Tensor, state: Mamba3State) -> tuple[Tensor, Mamba3State]:
        """Take the next token of each stream, (B, d_model), and return its output and the state after it."""
        self.check_step(x)
        y, state = self._run(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def _run(self, x: Tensor, state: Mamba3State | None) -> tuple[Tensor, Mamba3State]:
        z, u, B, C, dt, a, trap, theta = self.in_proj(x).split(self._parts, -1)
        heads, maps = (self.nheads, self.headdim), (self.rank, self.ngroups, self.d_state)
        u, z = (torch.unflatten(t, -1, heads).unsqueeze(2) for t in (u, z))
        if self.is_mimo:
            u, z = u * self.mimo_x.transpose(0, 1), z * self.mimo_z.transpose(0, 1)
        dt = F.softplus(_at_least_float32(dt) + self.dt_bias)
        y, state = mamba3_scan(
            u,
            dt,
            self._rates(_at_least_float32(a)),
            self.B_norm(torch.unflatten(B, -1, maps)),
            self.C_norm(torch.unflatten(C, -1, maps)),
            torch.sigmoid(_at_least_float32(trap)),
            theta,
            self.B_bias,
            self.C_bias,
            state,
            adjacent_pairs=not self.is_mimo,
            chunk_size=self.chunk_size,
        )
        y = y + u * self.D.unsqueeze(-1)
        y = y * F.silu(z) if self.norm is None else self.norm(y.flatten(-2), z.flatten(-2)).reshape(y.shape)
        if self.is_mimo:
            y = y * self.mimo_o.transpose(0, 1)
        result: Tensor = self.out_proj(y.sum(2).flatten(-2).to(x.dtype))
        return result, state

    def _rates(self, a: Tensor) -> Tensor:
        """The decay rates A, negative and at least A_floor in size."""
        if self.decay == "softplus":
            rate = F.softplus(a)
        else:
            rate = torch.where(a >= 0, 1 + a, 1 / (1 - a.clamp(max=0)))
        return -rate.clamp(min=self.A_floor)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
