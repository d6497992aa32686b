"""PlainMamba's mixer: one set of parameters for four walks without jumps, and a learned part of B for each move."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import autocast_dtype, saturate, without_autocast
from medmamba_monai.ops import selective_scan
from medmamba_monai.ops.scan_order import scan_order


class PlainMambaMixer(Mamba):
    """Project, convolve a grid, scan it along all sequences of an order with shared parameters, gate, project.

    PlainMamba (arXiv 2403.17695), section 3.2 and equations 5 to 7: to B of each step comes a learned vector of the
    move that led to it (the start, or one step along an axis, either way).

    Args:
        d_model: channels of a token.
        spatial_dims: 2 or 3.
        order: name of the scan order; steps that are no moves to a neighbour add nothing to B.
        d_state: numbers in the state of each channel.
        d_conv: odd size of the depthwise convolution on the grid.
        expand: the inner width is ``int(expand * d_model)``.
        selection: "scanned" takes dt, B and C from the token that is read, "raster" from the token at the same place
            of the row-by-row order, as the authors' code does.

    Shape:
        x (B, *S, d_model), channels last; returns the same shape.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> PlainMambaMixer(8)(torch.zeros(2, 5, 4, 8)).shape
        torch.Size([2, 5, 4, 8])
    """

    def __init__(
        self,
        d_model: int,
        spatial_dims: int = 2,
        order: str = "snake",
        d_state: int = 16,
        d_conv: int = 7,
        expand: float = 2,
        selection: str = "scanned",
    ) -> None:
        super().__init__(d_model, d_state, d_conv, expand, bias=True)
        if d_conv % 2 == 0:
            raise ValueError(f"d_conv is {d_conv}: use an odd kernel size, which keeps the grid's size")
        if selection not in ("scanned", "raster"):
            raise ValueError(f"selection is {selection!r}: use 'scanned' or 'raster'")
        self.order, self.selection = scan_order(order, spatial_dims), selection
        del self.conv1d
        inner = self.d_inner
        self.conv = Conv[Conv.CONV, spatial_dims](inner, inner, d_conv, padding=d_conv // 2, groups=inner)
        self.moves = nn.Parameter(torch.empty(1 + 2 * spatial_dims, d_state))
        nn.init.trunc_normal_(self.moves, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float())
        u, z = self.in_proj(x).chunk(2, -1)
        y = self.scan(F.silu(self.conv(u.movedim(-1, 1)))).movedim(1, -1)
        return saturate(self.out_proj((y * F.silu(z)).to(x.dtype)))

    def scan(self, u: Tensor) -> Tensor:
        """Scan a grid along all sequences and sum them: (B, D, *S) to the same shape."""
        order, size = self.order, u.shape[2:]
        projected = torch.einsum("cd,bd...->bc...", self.x_proj.weight, u)
        steps = order.sequences(u)
        if self.selection == "scanned":
            chosen = order.sequences(projected)
        else:
            chosen = projected.flatten(2).unsqueeze(1).expand(-1, steps.shape[1], -1, -1)
        dt, B, C = chosen.split([self.dt_rank, self.d_state, self.d_state], 2)
        B = B + self._move_parts(size).to(B.dtype)
        count = steps.shape[1]
        y = selective_scan(
            steps.flatten(1, 2).float() if steps.element_size() < 4 else steps.flatten(1, 2),
            (self.dt_proj.weight @ dt).flatten(1, 2),
            -torch.exp(self.A_log.float()).repeat(count, 1),
            B,
            C,
            self.D.float().repeat(count),
            None,
            self.dt_proj.bias.float().repeat(count),
            delta_softplus=True,
        )
        assert isinstance(y, Tensor)
        return order.restore(y.unflatten(1, (count, -1)), size).sum(1)

    def _move_parts(self, size: torch.Size) -> Tensor:
        """What each step adds to B: (K, N, T)."""
        kinds = self.order.moves(size).to(self.moves.device)
        table = torch.cat((self.moves, torch.zeros_like(self.moves[:1])))
        # -1, no move between neighbours, takes the row of zeros at the end
        return table[kinds].transpose(1, 2)
