"""How a grid becomes sequences and how they become the grid again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Each path names the axes of the grid from the slowest to the fastest.
_PATHS = {
    ("raster", 2): ((0, 1),),
    ("raster", 3): ((0, 1, 2),),
    ("bidirectional", 2): ((0, 1),),
    ("bidirectional", 3): ((0, 1, 2),),
    ("cross", 2): ((0, 1), (1, 0)),
    ("cross", 3): ((0, 1, 2), (1, 2, 0), (2, 0, 1)),
}


@dataclass(frozen=True)
class ScanOrder:
    """An order in which a grid is read: P paths, each taken in one or both directions, so K = P * directions.

    Sequence k is path ``k % P``, forwards for ``k < P`` and backwards for the others.

    Args:
        name: the order's name.
        axes: for each path the grid's axes, from the slowest to the fastest.
        directions: 1 for forwards only, 2 for both.

    Example:
        >>> order = scan_order("cross", spatial_dims=2)
        >>> order.sequences(torch.arange(4.0).reshape(1, 1, 2, 2))[0, :, 0].tolist()
        [[0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 1.0, 3.0], [3.0, 2.0, 1.0, 0.0], [3.0, 1.0, 2.0, 0.0]]
    """

    name: str
    axes: tuple[tuple[int, ...], ...]
    directions: int

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.axes[0])

    @property
    def num_paths(self) -> int:
        """P, the paths before directions are counted."""
        return len(self.axes)

    @property
    def num_sequences(self) -> int:
        """K, the sequences: paths times directions."""
        return self.num_paths * self.directions

    def paths(self, x: Tensor) -> Tensor:
        """Read a grid along each path, forwards: (B, D, *S) to (B, P, D, L). One path in storage order is a view."""
        self._check_grid(x)
        read = [x.permute(0, 1, *(a + 2 for a in axes)).flatten(2) for axes in self.axes]
        return read[0].unsqueeze(1) if len(read) == 1 else torch.stack(read, 1)

    def restore_paths(self, y: Tensor, size: Sequence[int]) -> tuple[Tensor, ...]:
        """Put each path back on the grid: (B, P, D, L) to P views (B, D, *S)."""
        self._check_sequences(y, size, self.num_paths)
        return tuple(self._restore_path(path, axes, size) for path, axes in zip(y.unbind(1), self.axes, strict=True))

    def sequences(self, x: Tensor) -> Tensor:
        """Read a grid along every sequence: (B, D, *S) to (B, K, D, L)."""
        paths = self.paths(x)
        return paths if self.directions == 1 else torch.cat((paths, paths.flip(-1)), 1)

    def restore(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """Put every sequence back on the grid of the given size: (B, K, D, L) to (B, K, D, *S)."""
        self._check_sequences(y, size, self.num_sequences)
        directions = [y[:, : self.num_paths]]
        if self.directions == 2:
            directions.append(y[:, self.num_paths :].flip(-1))
        return torch.stack([grid for paths in directions for grid in self.restore_paths(paths, size)], 1)

    def _restore_path(self, y: Tensor, axes: tuple[int, ...], size: Sequence[int]) -> Tensor:
        grid = y.reshape(*y.shape[:-1], *(size[a] for a in axes))
        back = sorted(range(len(axes)), key=axes.__getitem__)
        restored: Tensor = grid.permute(0, 1, *(a + 2 for a in back))
        return restored

    def _check_grid(self, x: Tensor) -> None:
        if x.dim() != self.spatial_dims + 2:
            raise ValueError(
                f"x has shape {tuple(x.shape)}: this order reads (batch, channels and {self.spatial_dims} grid axes)"
            )

    def _check_sequences(self, y: Tensor, size: Sequence[int], count: int) -> None:
        length = 1
        for n in size:
            length *= n
        if len(size) != self.spatial_dims:
            raise ValueError(f"size is {tuple(size)}: this order needs {self.spatial_dims} numbers")
        if y.dim() != 4 or y.shape[1] != count or y.shape[3] != length:
            raise ValueError(
                f"y has shape {tuple(y.shape)}: for a grid {tuple(size)} it must be (batch, {count}, channels, "
                f"{length})"
            )


def scan_order(name: str, spatial_dims: int = 2) -> ScanOrder:
    """Name an order in which a grid is read.

    "raster" reads row by row (slice by slice in 3D); "bidirectional" also backwards, as Vision Mamba
    (arXiv 2401.09417); "cross" reads rows and columns, each both ways, as VMamba (arXiv 2401.10166), in 3D along the
    three cyclic orders of the axes.

    Args:
        name: "raster", "bidirectional" or "cross".
        spatial_dims: 2 or 3.

    Raises:
        ValueError: when there is no such order.

    Example:
        >>> scan_order("cross", spatial_dims=3).num_sequences
        6
    """
    if (name, spatial_dims) not in _PATHS:
        names = sorted({known for known, _ in _PATHS})
        raise ValueError(f"there is no scan order {name!r} in {spatial_dims} dimensions: use one of {names} in 2 or 3")
    return ScanOrder(name, _PATHS[name, spatial_dims], 1 if name == "raster" else 2)
