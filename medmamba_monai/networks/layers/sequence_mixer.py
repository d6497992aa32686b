"""Any state-space core along every sequence of a scan order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.mamba2 import Mamba2
from medmamba_monai.networks.layers.mamba3 import Mamba3
from medmamba_monai.networks.layers.merges import ScanMerge
from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.layers.s4 import S4
from medmamba_monai.networks.layers.s4d import S4D
from medmamba_monai.networks.layers.s5 import S5
from medmamba_monai.ops.scan_order import ScanOrder, scan_order

CORES: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"s6": Mamba, "mamba2": Mamba2, "mamba3": Mamba3, "s4": S4, "s4d": S4D, "s5": S5}
)


class SequenceMixer(nn.Module):
    """Read a grid along every sequence of an order, run a whole layer along each, and merge what they give.

    The outer kind of scan, as LKM-UNet (arXiv 2403.07332) or Vim (arXiv 2401.09417) have it; `ScanMixer` is the inner.

    Args:
        d_model: channels of a token; for an order along channels, the number of positions of the grid.
        spatial_dims: 2 or 3.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        core: "s6" (Mamba), "mamba2", "mamba3", "s4", "s4d" or "s5".
        shared: one layer for all sequences instead of one each; what the order says if None.
        layer: number of the layer, for orders that give each layer another path.
        scan_merge: how the sequences' results become one grid, see `ScanMerge`; what the order says if None, but the
            mean where that is the sum.
        arguments: the core's own, for example ``d_state``.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Raises:
        ValueError: when there is no such core, or an argument or the input does not fit.

    Example:
        >>> SequenceMixer(8, 2, "bidirectional", "s4d")(torch.zeros(2, 5, 4, 8)).shape
        torch.Size([2, 5, 4, 8])
    """

    def __init__(
        self,
        d_model: int,
        spatial_dims: int = 2,
        order: str = "cross",
        core: str = "s6",
        shared: bool | None = None,
        layer: int = 0,
        scan_merge: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        if core not in CORES:
            raise ValueError(f"core is {core!r}: use one of {', '.join(CORES)}")
        self.order, self.d_model = scan_order(order, spatial_dims, layer), d_model
        if d_model % self.order.groups:
            raise ValueError(f"order is {order!r}: {d_model} channels do not split in equal groups")
        count = 1 if (self.order.shared if shared is None else shared) else self.order.num_sequences
        width = d_model // self.order.groups
        self.cores = nn.ModuleList(CORES[core](width, **arguments) for _ in range(count))
        by_order = "mean" if self.order.merge == "sum" and self.order.covers_all else self.order.merge
        self.merge = ScanMerge(scan_merge or by_order, width, self.order.num_sequences)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        grid, first = x.movedim(-1, 1), 0
        for order in self.order.bind(grid, self.training).one_by_one():
            grid = self._mix(grid, order, first)
            first += order.num_sequences
        return grid.movedim(1, -1)

    def _mix(self, x: Tensor, order: ScanOrder, first: int) -> Tensor:
        """Mix along the sequences of an order, whose layers begin at the given place."""
        size = x.shape[2:]
        x = x.unflatten(1, (order.groups, -1)).flatten(0, 1) if order.groups > 1 else x
        parts = order.segments(size)
        # (B, K, D, T) to (B, K, parts, T / parts, D)
        read = order.sequences(x).unflatten(-1, (parts, -1)).movedim(2, -1)
        if len(self.cores) == 1:
            mixed = self.cores[0](read.flatten(0, 2)).unflatten(0, read.shape[:3])
        else:
            cores = self.cores[first : first + order.num_sequences]
            lines = zip(cores, read.unbind(1), strict=True)
            mixed = torch.stack([core(line.flatten(0, 1)).unflatten(0, line.shape[:2]) for core, line in lines], 1)
        y = saturate(mixed).movedim(-1, 2).flatten(-2)
        grid = saturate(self.merge(order.restore(y, size)))
        return grid.unflatten(0, (-1, order.groups)).flatten(1, 2) if order.groups > 1 else grid

    def _check(self, x: Tensor) -> None:
        if not self.order.scans_channels or x.dim() != self.order.spatial_dims + 2:
            return
        positions = x[0, ..., 0].numel()
        if positions != self.d_model:
            raise ValueError(
                f"the grid {tuple(x.shape[1:-1])} has {positions} positions: an order along channels needs "
                f"d_model={self.d_model} of them"
            )
