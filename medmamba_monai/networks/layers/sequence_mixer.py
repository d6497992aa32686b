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
from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.layers.s4 import S4
from medmamba_monai.networks.layers.s4d import S4D
from medmamba_monai.networks.layers.s5 import S5
from medmamba_monai.ops.scan_order import scan_order

CORES: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"s6": Mamba, "mamba2": Mamba2, "mamba3": Mamba3, "s4": S4, "s4d": S4D, "s5": S5}
)


class SequenceMixer(nn.Module):
    """Read a grid along every sequence of an order, run a whole layer along each, and take the mean of all.

    The outer kind of scan, as LKM-UNet (arXiv 2403.07332) or Vim (arXiv 2401.09417) have it; `ScanMixer` is the inner.

    Args:
        d_model: channels of a token.
        spatial_dims: 2 or 3.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        core: "s6" (Mamba), "mamba2", "mamba3", "s4", "s4d" or "s5".
        shared: one layer for all sequences instead of one each.
        arguments: the core's own, for example ``d_state``.

    Shape:
        x (B, *S, d_model), channels last; returns the same shape.

    Raises:
        ValueError: when there is no such core, or an argument does not fit it.

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
        shared: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__()
        if core not in CORES:
            raise ValueError(f"core is {core!r}: use one of {', '.join(CORES)}")
        self.order = scan_order(order, spatial_dims)
        count = 1 if shared else self.order.num_sequences
        self.cores = nn.ModuleList(CORES[core](d_model, **arguments) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        read = self.order.sequences(x.movedim(-1, 1)).transpose(2, 3)
        if len(self.cores) == 1:
            mixed = self.cores[0](read.flatten(0, 1)).unflatten(0, read.shape[:2])
        else:
            mixed = torch.stack([core(read[:, k]) for k, core in enumerate(self.cores)], 1)
        grids = self.order.restore(saturate(mixed).transpose(2, 3), x.shape[1:-1])
        return saturate(grids.mean(1)).movedim(1, -1)
