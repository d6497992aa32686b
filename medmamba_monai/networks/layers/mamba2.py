"""The Mamba-2 layer: one projection, a short causal convolution and the scan with one decay a head (SSD)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import initial_dt_bias
from medmamba_monai.networks.layers.sequence import GatedRMSNorm, SequenceLayer, resolve_headdim
from medmamba_monai.ops import causal_conv1d, causal_conv1d_step, state_space_dual


class Mamba2State(NamedTuple):
    """What a stream remembers: the last inputs of the convolution (B, C, d_conv - 1) and the state (B, H, P, N)."""

    conv: Tensor
    ssm: Tensor


class Mamba2(SequenceLayer):
    """Mix a sequence of tokens with a state-space model that has one decay a head.

    Mamba-2 (arXiv 2405.21060), section 7 and figure 6 (right). Parameter names and initial values are those of the
    authors' package, so its checkpoints load as they are.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), at least 1.
        d_conv: taps of the causal convolution, at least 1.
        expand: the inner width is ``int(expand * d_model)``.
        headdim: channels of a head, or "auto" for the largest divisor of the inner width up to 64.
        ngroups: groups of heads that share the maps B and C; it divides the heads.
        A_init_range: bounds of the initial decay rates, drawn evenly.
        rmsnorm: normalise before the output projection; without it the scan gates alone.
        norm_before_gate: gate after the norm instead of before it.
        dt_min: smallest initial step size.
        dt_max: largest initial step size.
        dt_limit: smallest and largest step size ever, or None.
        bias: give the input and output projections a bias.
        conv_bias: give the convolution a bias.
        chunk_size: steps joined by one matrix product.

    Shape:
        x (B, L, d_model); returns the same shape. `step` takes (B, d_model) and a state.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> layer = Mamba2(8, d_state=4)
        >>> y = layer(torch.ones(2, 5, 8))
        >>> token, state = layer.step(torch.ones(2, 8), layer.initial_state(2))
        >>> torch.allclose(token, y[:, 0], atol=1e-6)
        True

    Notes:
        The authors' default for headdim is 64, which "auto" gives wherever 64 divides the inner width. Their second
        branch beside the scan (``d_ssm`` below the inner width) is not part of the paper and not here. The norm works
        within each group of heads, as their compiled code does.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        expand: float = 2,
        headdim: int | str = "auto",
        ngroups: int = 1,
        A_init_range: tuple[float, float] = (1, 16),
        rmsnorm: bool = True,
        norm_before_gate: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_limit: tuple[float, float] | None = None,
        bias: bool = False,
        conv_bias: bool = True,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(d_model, d_state=d_state, d_conv=d_conv, ngroups=ngroups, chunk_size=chunk_size)
        if not 0 < dt_min <= dt_max:
            raise ValueError(f"dt_min is {dt_min} and dt_max {dt_max}: give 0 < dt_min <= dt_max")
        if not 0 < A_init_range[0] <= A_init_range[1]:
            raise ValueError(f"A_init_range is {tuple(A_init_range)}: give two positive bounds, the smaller first")
        self.d_state, self.d_inner, self.ngroups = d_state, int(expand * d_model), ngroups
        if self.d_inner < 1:
            raise ValueError(f"expand is {expand}: the inner width int(expand * {d_model}) must be at least 1")
        self.headdim = resolve_headdim(headdim, self.d_inner)
        self.nheads = self.d_inner // self.headdim
        if self.nheads % ngroups:
            raise ValueError(f"ngroups is {ngroups}: it must divide the {self.nheads} heads")
        self.dt_limit = None if dt_limit is None else (float(dt_limit[0]), float(dt_limit[1]))
        self.chunk_size = chunk_size
        mixed = self.d_inner + 2 * ngroups * d_state
        self.in_proj = nn.Linear(d_model, self.d_inner + mixed + self.nheads, bias=bias)
        self.conv1d = nn.Conv1d(mixed, mixed, d_conv, groups=mixed, bias=conv_bias)
        self.dt_bias = nn.Parameter(initial_dt_bias((self.nheads,), dt_min, dt_max))
        self.A_log = nn.Parameter(torch.empty(self.nheads).uniform_(*A_init_range).log())
        self.D = nn.Parameter(torch.ones(self.nheads))
        group_size = self.d_inner // ngroups
        self.norm = GatedRMSNorm(self.d_inner, group_size, norm_before_gate) if rmsnorm else None
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)

    def mix(self, x: Tensor) -> Tensor:
        z, mixed, dt = self._project(x)
        mixed = causal_conv1d(mixed.transpose(1, 2), self.conv1d.weight.squeeze(1), self.conv1d.bias, "silu")
        y, _ = self._scan(mixed.transpose(1, 2), z, dt, None)
        return self._finish(y, z)

    def initial_state(self, batch: int) -> Mamba2State:
        """The state of ``batch`` streams before their first token."""
        taps = self.conv1d.kernel_size[0]
        conv = self.D.new_zeros(batch, self.conv1d.in_channels, taps - 1)
        return Mamba2State(conv, self.D.new_zeros(batch, self.nheads, self.headdim, self.d_state))

    def step(self, x: Tensor, state: Mamba2State) -> tuple[Tensor, Mamba2State]:
        """Take the next token of each stream, (B, d_model), and return its output and the state after it."""
        self.check_step(x)
        z, mixed, dt = self._project(x.unsqueeze(1))
        weight = self.conv1d.weight.squeeze(1)
        token, conv = causal_conv1d_step(mixed.squeeze(1), state.conv, weight, self.conv1d.bias, "silu")
        y, ssm = self._scan(token.unsqueeze(1), z, dt, state.ssm)
        return self._finish(y, z).squeeze(1), Mamba2State(conv, ssm)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gate, the channels to be convolved (x, B and C together) and the step sizes."""
        z, mixed, dt = self.in_proj(x).split([self.d_inner, self.conv1d.in_channels, self.nheads], -1)
        return z, mixed, dt

    def _scan(self, mixed: Tensor, z: Tensor, dt: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        maps = self.ngroups * self.d_state
        u, B, C = mixed.split([self.d_inner, maps, maps], -1)
        heads, groups = (self.nheads, self.headdim), (self.ngroups, self.d_state)
        result = state_space_dual(
            torch.unflatten(u, -1, heads),
            dt,
            -torch.exp(self.A_log.float() if self.A_log.element_size() < 4 else self.A_log),
            torch.unflatten(B, -1, groups),
            torch.unflatten(C, -1, groups),
            self.D,
            torch.unflatten(z, -1, heads) if self.norm is None else None,
            self.dt_bias,
            dt_softplus=True,
            dt_limit=self.dt_limit,
            initial_state=state,
            return_last_state=True,
            chunk_size=self.chunk_size,
        )
        assert isinstance(result, tuple)
        return result[0].flatten(-2), result[1]

    def _finish(self, y: Tensor, z: Tensor) -> Tensor:
        y = y if self.norm is None else self.norm(y, z)
        result: Tensor = self.out_proj(y)
        return result
