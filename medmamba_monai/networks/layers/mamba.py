"""The Mamba layer: gated projections, a short causal convolution and the selective scan (S6)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import autocast_dtype, without_autocast
from medmamba_monai.ops import causal_conv1d, causal_conv1d_step, selective_scan, selective_scan_step
from medmamba_monai.ops.zero_order_hold import check_input_rule


class MambaState(NamedTuple):
    """What a stream remembers: the last inputs of the convolution (B, D, d_conv - 1) and the state (B, D, N)."""

    conv: Tensor
    ssm: Tensor


class StepProjection(nn.Linear):
    """The projection of the step size: a network that starts its linear maps in another way leaves this one alone.

    Shape:
        x (..., rank); returns (..., channels).

    Example:
        >>> StepProjection(1, 4)(torch.zeros(2, 1)).shape
        torch.Size([2, 4])
    """


class Mamba(nn.Module):
    """Mix a sequence of tokens with a selective state-space model.

    Mamba (arXiv 2312.00752), section 3.4 and algorithm 2. Parameter names and initial values are those of the authors'
    package, so its checkpoints load as they are.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), at least 1.
        d_conv: taps of the causal convolution, at least 1.
        expand: the inner width is ``int(expand * d_model)``.
        dt_rank: rank of the step size's projection, or "auto" for ``ceil(d_model / 16)``.
        dt_min: smallest initial step size.
        dt_max: largest initial step size.
        bias: give the input and output projections a bias.
        conv_bias: give the convolution a bias.
        input_rule: "euler", as in every checkpoint, or "zoh", exact zero-order hold (plain torch, slower).

    Shape:
        x (B, L, d_model); returns the same shape. `step` takes (B, d_model) and a state.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> Mamba(8)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Notes:
        Under float16 autocast the layer computes in float32: its products leave the range of float16 easily.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        dt_rank: int | str = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        bias: bool = False,
        conv_bias: bool = True,
        input_rule: str = "euler",
    ) -> None:
        super().__init__()
        check_input_rule(input_rule)
        self.input_rule = input_rule
        for name, value in (("d_model", d_model), ("d_state", d_state), ("d_conv", d_conv)):
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        if not 0 < dt_min <= dt_max:
            raise ValueError(f"dt_min is {dt_min} and dt_max {dt_max}: give 0 < dt_min <= dt_max")
        self.d_model, self.d_state = d_model, d_state
        self.d_inner = int(expand * d_model)
        if self.d_inner < 1:
            raise ValueError(f"expand is {expand}: the inner width int(expand * {d_model}) must be at least 1")
        self.dt_rank = resolve_dt_rank(dt_rank, d_model)
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner, bias=conv_bias)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = StepProjection(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(initial_A_log(self.d_inner, d_state))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        with torch.no_grad():
            self.dt_proj.bias.copy_(initial_dt_bias((self.d_inner,), dt_min, dt_max))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"the input has shape {tuple(x.shape)}: give (batch, length, {self.d_model})")
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.mix(x.transpose(1, 2).float()).transpose(1, 2)
        return self.mix(x.transpose(1, 2)).transpose(1, 2)

    def mix(self, x: Tensor) -> Tensor:
        """The layer with channels first: (B, d_model, L) to (B, d_model, L), contiguous.

        A product with the weight on the left gives channels-first results at once, as the scan needs them.
        """
        return project(self.out_proj, self.mix_inner(x))

    def mix_inner(self, x: Tensor) -> Tensor:
        """The layer without its output projection: (B, d_model, L) to (B, d_inner, L)."""
        return self.scan_parts(*project(self.in_proj, x).chunk(2, 1))

    def scan_parts(self, u: Tensor, z: Tensor) -> Tensor:
        """The layer between its outer projections: u and z (B, d_inner, L) to (B, d_inner, L)."""
        u = causal_conv1d(u, self.conv1d.weight.squeeze(1), self.conv1d.bias, "silu")
        dt, B, C = torch.split(self.x_proj.weight @ u, [self.dt_rank, self.d_state, self.d_state], 1)
        y = selective_scan(
            u,
            self.dt_proj.weight @ dt,
            -torch.exp(self.A_log.float()),
            B,
            C,
            self.D.float(),
            z,
            self.dt_proj.bias.float(),
            delta_softplus=True,
            input_rule=self.input_rule,
        )
        assert isinstance(y, Tensor)
        return y

    def initial_state(self, batch: int) -> MambaState:
        """The state of ``batch`` streams before their first token."""
        conv = self.D.new_zeros(batch, self.d_inner, self.conv1d.kernel_size[0] - 1)
        return MambaState(conv, self.D.new_zeros(batch, self.d_inner, self.d_state))

    def step(self, x: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        """Take the next token of each stream, (B, d_model), and return its output and the state after it."""
        if x.dim() != 2 or x.shape[-1] != self.d_model:
            raise ValueError(f"the step has shape {tuple(x.shape)}: give one token a stream, (batch, {self.d_model})")
        u, z = self.in_proj(x).chunk(2, 1)
        u, conv = causal_conv1d_step(u, state.conv, self.conv1d.weight.squeeze(1), self.conv1d.bias, "silu")
        dt, B, C = torch.split(self.x_proj(u), [self.dt_rank, self.d_state, self.d_state], 1)
        y, ssm = selective_scan_step(
            state.ssm,
            u,
            F.linear(dt, self.dt_proj.weight),
            -torch.exp(self.A_log),
            B,
            C,
            self.D,
            z,
            self.dt_proj.bias,
            delta_softplus=True,
            input_rule=self.input_rule,
        )
        return self.out_proj(y), MambaState(conv, ssm)


def resolve_dt_rank(dt_rank: int | str, d_model: int) -> int:
    """The rank of the step size's projection: as given, or a sixteenth of the width for "auto"."""
    if dt_rank == "auto":
        return math.ceil(d_model / 16)
    if not isinstance(dt_rank, int) or dt_rank < 1:
        raise ValueError(f"dt_rank is {dt_rank!r}: give 'auto' or a whole number of at least 1")
    return dt_rank


def initial_A_log(channels: int, d_state: int) -> Tensor:
    """The logarithm of the decay rates 1 to N in every channel (S4D-real), shape (channels, N)."""
    return torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).repeat(channels, 1)


def initial_dt_bias(shape: tuple[int, ...], dt_min: float = 0.001, dt_max: float = 0.1) -> Tensor:
    """Biases whose softplus is log-uniform between dt_min and dt_max, and at least 1e-4."""
    dt = torch.exp(torch.rand(shape) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min)).clamp(min=1e-4)
    return dt + torch.log(-torch.expm1(-dt))


def project(linear: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer to the channels of (B, D, L)."""
    y = linear.weight @ x
    return y if linear.bias is None else y + linear.bias[:, None].to(y.dtype)
