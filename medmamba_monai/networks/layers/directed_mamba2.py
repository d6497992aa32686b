"""The layer of MamMIL: Mamba-2 along several given orders of the tokens, each both ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import initial_dt_bias
from medmamba_monai.networks.layers.precision import autocast_dtype, without_autocast
from medmamba_monai.networks.layers.sequence import GatedRMSNorm, resolve_headdim
from medmamba_monai.ops import causal_conv1d, state_space_dual


class Direction(nn.Module):
    """What each direction has of its own: the convolution, the step size's bias, the decay and the skip weights.

    Example:
        >>> Direction(8, 2, 4).A_log.shape
        torch.Size([2])
    """

    def __init__(self, channels: int, heads: int, d_conv: int) -> None:
        super().__init__()
        self.conv1d = nn.Conv1d(channels, channels, d_conv, groups=channels)
        self.dt_bias = nn.Parameter(initial_dt_bias((heads,)))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))


class DirectedMamba2(nn.Module):
    """Mix tokens with Mamba-2 along each of several orders, forwards and backwards, between shared projections.

    MamMIL (arXiv 2403.05160), section 2.3, in the form of its code, which stands on Mamba-2 (arXiv 2405.21060).

    Args:
        d_model: channels of a token, at least 1.
        num_orders: number of orders that `forward` is given.
        d_state: numbers in the state of each channel (N), at least 1.
        d_conv: taps of the causal convolutions, at least 1.
        expand: the inner width is ``int(expand * d_model)``.
        headdim: channels of a head, or "auto" for the largest divisor of the inner width up to 64.

    Shape:
        x (B, L, d_model) and orders (B, num_orders, L), each a permutation of the places; returns the shape of x.

    Raises:
        ValueError: when an argument is out of range or the orders do not fit.

    Example:
        >>> orders = torch.tensor([[[0, 1, 2], [2, 0, 1]]])
        >>> DirectedMamba2(8, 2, d_state=4)(torch.zeros(1, 3, 8), orders).shape
        torch.Size([1, 3, 8])

    Notes:
        With one order, the places as they are, it is the bidirectional Mamba-2 of the authors' repository.
    """

    def __init__(
        self,
        d_model: int,
        num_orders: int,
        d_state: int = 128,
        d_conv: int = 4,
        expand: float = 2,
        headdim: int | str = "auto",
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "num_orders": num_orders, "d_state": d_state, "d_conv": d_conv}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        self.num_orders, self.d_state, self.d_inner = num_orders, d_state, int(expand * d_model)
        self.headdim = resolve_headdim(headdim, self.d_inner)
        self.nheads = self.d_inner // self.headdim
        self.mixed = self.d_inner + 2 * d_state
        self.in_proj = nn.Linear(d_model, self.d_inner + self.mixed + self.nheads, bias=False)
        self.directions = nn.ModuleList(Direction(self.mixed, self.nheads, d_conv) for _ in range(2 * num_orders))
        self.norm = GatedRMSNorm(self.d_inner)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    def forward(self, x: Tensor, orders: Tensor) -> Tensor:
        if tuple(orders.shape) != (x.shape[0], self.num_orders, x.shape[1]):
            wanted = (x.shape[0], self.num_orders, x.shape[1])
            raise ValueError(f"orders has shape {tuple(orders.shape)}: it must be {wanted}, (batch, orders, tokens)")
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float(), orders)
        projected = self.in_proj(x)
        both = [order for given in orders.unbind(1) for order in (given, given.flip(1))]
        total: Tensor | None = None
        for direction, order in zip(self.directions, both, strict=True):
            assert isinstance(direction, Direction)
            y = self._scan(projected.take_along_dim(order.unsqueeze(-1), 1), direction)
            y = y.take_along_dim(order.argsort(1).unsqueeze(-1), 1)
            total = y if total is None else total + y
        assert total is not None
        mean: Tensor = self.out_proj(total / len(both))
        return mean

    def _scan(self, rows: Tensor, direction: Direction) -> Tensor:
        z, mixed, dt = rows.split([self.d_inner, self.mixed, self.nheads], -1)
        conv = direction.conv1d
        mixed = causal_conv1d(mixed.transpose(1, 2), conv.weight.squeeze(1), conv.bias, "silu").transpose(1, 2)
        u, B, C = mixed.split([self.d_inner, self.d_state, self.d_state], -1)
        A_log = direction.A_log
        y = state_space_dual(
            u.unflatten(-1, (self.nheads, self.headdim)),
            dt,
            -torch.exp(A_log.float() if A_log.element_size() < 4 else A_log),
            B.unsqueeze(2),
            C.unsqueeze(2),
            direction.D,
            None,
            direction.dt_bias,
            dt_softplus=True,
        )
        assert isinstance(y, Tensor)
        normed: Tensor = self.norm(y.flatten(-2), z)
        return normed
