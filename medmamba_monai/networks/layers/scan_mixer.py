"""The scan mixer: a selective scan along several paths over a grid (SS2D and its 3D form)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.channel_scan import ChannelScan
from medmamba_monai.networks.layers.mamba import initial_A_log, initial_dt_bias, resolve_dt_rank
from medmamba_monai.networks.layers.merges import ScanMerge
from medmamba_monai.networks.layers.precision import autocast_dtype, saturate, without_autocast
from medmamba_monai.ops import bidirectional_selective_scan, grid_selective_scan
from medmamba_monai.ops.grid_scan import runs_fused
from medmamba_monai.ops.scan_order import ScanOrder, scan_order


class ScanMixer(nn.Module):
    """Mix a grid of tokens: project, convolve, scan along all paths, merge, normalise, gate, project.

    VMamba (arXiv 2401.10166), section 4.3 (SS2D); MedMamba (arXiv 2403.03849), figure 3.

    Args:
        d_model: channels of a token.
        spatial_dims: 2 or 3.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel (N).
        d_conv: odd kernel size of the depthwise convolution.
        expand: the inner width is ``int(expand * d_model)``.
        dt_rank: rank of the step size's projection, or "auto" for ``ceil(d_model / 16)``.
        gate: multiply the scan's result by a second projection of the input (VMamba's first form has this gate, its
            later presets have not).
        conv_bias: give the depthwise convolution a bias.
        layer: number of the layer, for orders that give each layer another path.
        scan_merge: how the sequences' results become one grid, see `ScanMerge`; what the order says if None.
        channel_scan: add the result once more, weighed by a scan along its channels (`ChannelScan`); with the order
            "cross" that is VmambaIR's omni selective scan.
        bias: give the first and the last projection a bias.

    Shape:
        x (B, *S, d_model), channels last; returns the same shape.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> ScanMixer(8)(torch.zeros(2, 5, 4, 8)).shape
        torch.Size([2, 5, 4, 8])

    Notes:
        The scan computes in float32 whatever autocast asks; under float16 so do the projections in front of it.
        Parameters of the K sequences are stored together under the names of VMamba's code; where the order shares them
        they are stored once. A cascade normalises in front of each of its scans, as VMamba's code does, and its
        parameters are those of its first scan, both ways, then those of the next.
    """

    def __init__(
        self,
        d_model: int,
        spatial_dims: int = 2,
        order: str = "cross",
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        dt_rank: int | str = "auto",
        gate: bool = True,
        conv_bias: bool = True,
        layer: int = 0,
        scan_merge: str | None = None,
        channel_scan: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("d_model", d_model), ("d_state", d_state), ("d_conv", d_conv)):
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        if d_conv % 2 == 0:
            raise ValueError(f"d_conv is {d_conv}: use an odd kernel size, which keeps the grid's size")
        self.order = scan_order(order, spatial_dims, layer)
        if self.order.scans_channels:
            raise ValueError(f"order is {order!r}, which scans along channels: take SequenceMixer")
        self.d_model, self.d_state, self.d_inner = d_model, d_state, int(expand * d_model)
        if self.d_inner < 1:
            raise ValueError(f"expand is {expand}: the inner width int(expand * {d_model}) must be at least 1")
        self.dt_rank = resolve_dt_rank(dt_rank, d_model)
        if self.d_inner % self.order.groups:
            raise ValueError(f"order is {order!r}: the inner width {self.d_inner} does not split in equal groups")
        self.gate = gate
        inner, k = self.d_inner, 1 if self.order.shared else self.order.num_sequences
        self.in_proj = nn.Linear(d_model, (2 if gate else 1) * inner, bias=bias)
        self.conv = Conv[Conv.CONV, spatial_dims](
            inner, inner, d_conv, padding=d_conv // 2, groups=inner, bias=conv_bias
        )
        group = inner // self.order.groups
        self.x_proj_weight = nn.Parameter(torch.empty(k, self.dt_rank + 2 * d_state, group))
        self.dt_projs_weight = nn.Parameter(torch.empty(k, group, self.dt_rank))
        self.dt_projs_bias = nn.Parameter(initial_dt_bias((k, group)))
        self.A_logs = nn.Parameter(initial_A_log(k * group, d_state))
        self.Ds = nn.Parameter(torch.ones(k * group))
        self.merge = ScanMerge(scan_merge or self.order.merge, group, self.order.num_sequences)
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, d_model, bias=bias)
        nn.init.uniform_(self.x_proj_weight, -(inner**-0.5), inner**-0.5)
        nn.init.uniform_(self.dt_projs_weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        self.channel_scan = ChannelScan(inner) if channel_scan else None

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[1:-1]
        if x.dim() != self.order.spatial_dims + 2 or x.shape[-1] != self.d_model:
            axes = self.order.spatial_dims
            raise ValueError(f"the input has shape {tuple(x.shape)}: give (batch, {axes} grid axes, {self.d_model})")
        tokens = x.flatten(1, -2)
        # The scan runs along contiguous positions and the gate along contiguous channels: each half of the
        # projection is computed in the layout it is used in, and nothing is transposed.
        to_u, *to_z = self.in_proj.weight.split(self.d_inner)
        u_bias, z_bias = (
            (None, None) if self.in_proj.bias is None else (*self.in_proj.bias.split(self.d_inner), None)[:2]
        )
        if self.merge.kind == "sum" and self.order.is_whole(size) and runs_fused(x):
            u = F.linear(tokens, to_u, u_bias).reshape(*x.shape[:-1], self.d_inner).movedim(-1, 1)
            y = self.scan_tokens(F.silu(self.conv(u)).movedim(1, -1))
        else:
            u = to_u @ tokens.transpose(1, 2)
            u = (u if u_bias is None else u + u_bias[:, None].to(u.dtype)).reshape(-1, self.d_inner, *size)
            y = self.scan(F.silu(self.conv(u))).flatten(2).transpose(1, 2)
        norm = self.out_norm
        y = F.layer_norm(y, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        if to_z:
            y = y * F.silu(F.linear(tokens, to_z[0], z_bias))
        if self.channel_scan is not None:
            y = saturate(y + y * self.channel_scan(y.mean(1)).unsqueeze(1).to(y.dtype))
        return saturate(F.linear(y, self.out_proj.weight, self.out_proj.bias)).reshape(x.shape)

    def scan(self, u: Tensor) -> Tensor:
        """Scan a grid along all sequences and merge them: (B, D, *S) to (B, D, *S), in float32 at least."""
        if autocast_dtype(u) == torch.float16:
            with without_autocast(u):
                return self._scan(u.float())
        return self._scan(u)

    def scan_tokens(self, u: Tensor) -> Tensor:
        """Scan a grid, channels last, along all sequences and sum them: (B, *S, D) to (B, L, D)."""
        if autocast_dtype(u) == torch.float16:
            with without_autocast(u):
                return self.scan_tokens(u.float())
        order = self.order
        places = torch.arange(u[0, ..., 0].numel(), dtype=torch.int32).reshape(1, 1, *u.shape[1:-1])
        grid = (order.directions, order.num_paths)
        tokens = u.flatten(1, -2)
        to_x, to_delta, delta_bias, A, D = self._weights(0, *grid)
        projected = torch.unflatten(F.linear(tokens, to_x.flatten(0, 2)), -1, (*grid, -1))
        return grid_selective_scan(
            tokens.float() if tokens.element_size() < 4 else tokens,
            projected,
            to_delta,
            A,
            order.paths(places)[0, :, 0],
            D,
            delta_bias,
        )

    def _weights(self, first: int, directions: int, paths: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Of each direction and path: the map to dt, B and C, dt's widening and its bias, A and D."""
        inner = self.d_inner // self.order.groups
        weights: tuple[Tensor, ...] = (
            self.x_proj_weight,
            self.dt_projs_weight,
            self.dt_projs_bias.float(),
            -torch.exp(self.A_logs.float()).reshape(-1, inner, self.d_state),
            self.Ds.float().reshape(-1, inner),
        )
        count = directions * paths
        if not self.order.shared and self.order.cascade:
            weights = tuple(w[first : first + count] for w in weights)
        # one set of parameters for all sequences lies there once
        to_x, to_delta, bias, A, D = (w.expand(count, *w.shape[1:]).unflatten(0, (directions, paths)) for w in weights)
        return to_x, to_delta, bias, A, D

    def _scan(self, u: Tensor) -> Tensor:
        first = 0
        for order in self.order.bind(u, self.training).one_by_one():
            if self.order.cascade:
                u = F.layer_norm(u.movedim(1, -1), u.shape[1:2]).movedim(-1, 1)
            u = self._scan_together(u, order, first)
            first += order.num_sequences
        return u

    def _scan_together(self, u: Tensor, order: ScanOrder, first: int) -> Tensor:
        """Scan a grid along the sequences of an order, whose parameters begin at the given place, and merge them."""
        rank, states, size = self.dt_rank, self.d_state, u.shape[2:]
        apart = self.merge.kind not in ("sum", "mean")
        # Merges that look at the sequences one by one take each for a path of one direction.
        directions, count = (1, order.num_sequences) if apart else (order.directions, order.num_paths)
        u = u.unflatten(1, (order.groups, -1)).flatten(0, 1) if order.groups > 1 else u
        parts = order.segments(size)
        lines = _split(order.sequences(u) if apart else order.paths(u), parts)
        to_x, to_delta, delta_bias, A, D = self._weights(first, directions, count)
        # The projections act on each position alone, so both directions of a path share one product, unflipped.
        projected = torch.unflatten(to_x.transpose(0, 1).flatten(1, 2) @ lines, 2, (directions, -1)).transpose(1, 2)
        dt, B, C = projected.split_with_sizes((rank, states, states), 3)
        lines = lines.float() if lines.element_size() < 4 else lines
        y = _join(
            bidirectional_selective_scan(lines, to_delta @ dt, A, B, C, D, delta_bias, delta_softplus=True), parts
        )
        if apart:
            merged: Tensor = self.merge(order.restore(y, size))
        else:
            merged, *others = order.restore_paths(y, size)
            for other in others:
                merged = merged + other
            if self.merge.kind == "mean":
                merged = merged / order.num_sequences
        return merged.unflatten(0, (-1, order.groups)).flatten(1, 2) if order.groups > 1 else merged


def _split(x: Tensor, parts: int) -> Tensor:
    """Let each part of the sequences (B, P, D, T) be a sample of its own."""
    return x if parts == 1 else x.unflatten(-1, (parts, -1)).movedim(-2, 1).flatten(0, 1)


def _join(y: Tensor, parts: int) -> Tensor:
    return y if parts == 1 else y.unflatten(0, (-1, parts)).movedim(1, -2).flatten(-2)
