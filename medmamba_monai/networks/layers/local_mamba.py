"""LocalMamba's layer: a Mamba with its own parameters for each of several paths over a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba, project
from medmamba_monai.networks.layers.merges import ScanMerge
from medmamba_monai.networks.layers.precision import autocast_dtype, without_autocast
from medmamba_monai.ops.scan_order import scan_order


class PathMamba(Mamba):
    """Mamba's convolution, scan and gate without its outer projections.

    Mamba (arXiv 2312.00752), algorithm 2, lines 4 to 9.

    Args:
        d_model: channels of a token, which fix the inner width and the rank of the step size.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolution.
        expand: the inner width is ``int(expand * d_model)``.

    Example:
        >>> PathMamba(4).scan_parts(torch.zeros(1, 8, 5), torch.zeros(1, 8, 5)).shape
        torch.Size([1, 8, 5])
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: float = 2) -> None:
        super().__init__(d_model, d_state, d_conv, expand)
        del self.in_proj, self.out_proj


class LocalMamba(nn.Module):
    """Project, read the tokens along K paths, mix each by its own Mamba, weigh channels, add up, project.

    LocalMamba (arXiv 2403.09338), figure 3 (LocalVim block).

    Args:
        d_model: channels of a token.
        spatial_dims: 2 or 3.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: the inner width is ``int(expand * d_model)``.

    Shape:
        x (B, L, d_model) and the size of the grid that its L tokens lie on, row by row; returns x's shape.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> LocalMamba(8)(torch.zeros(2, 20, 8), (5, 4)).shape
        torch.Size([2, 20, 8])
    """

    def __init__(
        self,
        d_model: int,
        spatial_dims: int = 2,
        order: str = "local:2",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        self.order = scan_order(order, spatial_dims)
        count = self.order.num_sequences
        self.paths = nn.ModuleList(PathMamba(d_model, d_state, d_conv, expand) for _ in range(count))
        inner = int(expand * d_model)
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.merge = ScanMerge("attention", inner, count)
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float(), size)
        grid = project(self.in_proj, x.transpose(1, 2)).unflatten(2, tuple(size))
        read = self.order.sequences(grid)
        mixed = []
        for k, path in enumerate(self.paths):
            assert isinstance(path, PathMamba)
            mixed.append(path.scan_parts(*read[:, k].chunk(2, 1)))
        merged = self.merge(self.order.restore(torch.stack(mixed, 1), size)).flatten(2)
        return project(self.out_proj, merged.to(x.dtype)).transpose(1, 2)
