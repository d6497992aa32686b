"""A scan order: how a grid becomes K sequences and how they become the grid again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops.scan_orders.paths import Path


@dataclass(frozen=True)
class ScanOrder:
    """An order in which a grid is read: P paths, each taken in one or both directions, so K = P * directions.

    Sequence k is path ``k % P``, forwards for ``k < P`` and backwards for the others. A sequence has T steps: as many
    as the grid has positions (L), fewer where a path visits a part of them only, more where it reads zeros between.

    Args:
        name: the order's name.
        spatial_dims: 2 or 3.
        steps: the paths.
        directions: 1 for forwards only, 2 for both.
        shared: one set of parameters for all sequences instead of one each.
        merge: how the sequences' results become one grid: "sum", "mean", ...

    Example:
        >>> order = scan_order("cross", spatial_dims=2)
        >>> order.sequences(torch.arange(4.0).reshape(1, 1, 2, 2))[0, :, 0].tolist()
        [[0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 1.0, 3.0], [3.0, 2.0, 1.0, 0.0], [3.0, 1.0, 2.0, 0.0]]
    """

    name: str
    spatial_dims: int
    steps: tuple[Path, ...]
    directions: int = 1
    shared: bool = False
    merge: str = "sum"

    @property
    def num_paths(self) -> int:
        """P, the paths before directions are counted."""
        return len(self.steps)

    @property
    def num_sequences(self) -> int:
        """K, the sequences: paths times directions."""
        return self.num_paths * self.directions

    def length(self, size: Sequence[int]) -> int:
        """T, the steps of each sequence over a grid of this size."""
        return max(step.length(size) for step in self.steps) if self.num_paths > 1 else self.steps[0].length(size)

    def segments(self, size: Sequence[int]) -> int:
        """Into how many equal parts each sequence falls; the state starts anew with each part."""
        return self.steps[0].segments(size)

    def is_whole(self, size: Sequence[int]) -> bool:
        """Whether every sequence visits each position once, without zeros between and in one part."""
        return all(step.is_whole(size) for step in self.steps)

    def paths(self, x: Tensor) -> Tensor:
        """Read a grid along each path, forwards: (B, D, *S) to (B, P, D, T). One path in storage order is a view."""
        self._check_grid(x)
        read = [step.read(x) for step in self.steps]
        longest = max(path.shape[-1] for path in read)
        # zeros behind the shorter ones: a scan from either end passes them before or after all that counts
        read = [path if path.shape[-1] == longest else F.pad(path, (0, longest - path.shape[-1])) for path in read]
        return read[0].unsqueeze(1) if len(read) == 1 else torch.stack(read, 1)

    def restore_paths(self, y: Tensor, size: Sequence[int]) -> tuple[Tensor, ...]:
        """Put each path back on the grid: (B, P, D, T) to P grids (B, D, *S)."""
        self._check_sequences(y, size, self.num_paths)
        paths = zip(y.unbind(1), self.steps, strict=True)
        return tuple(step.write(path[..., : step.length(size)], size) for path, step in paths)

    def sequences(self, x: Tensor) -> Tensor:
        """Read a grid along every sequence: (B, D, *S) to (B, K, D, T)."""
        paths = self.paths(x)
        return paths if self.directions == 1 else torch.cat((paths, paths.flip(-1)), 1)

    def restore(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """Put every sequence back on the grid of the given size: (B, K, D, T) to (B, K, D, *S)."""
        self._check_sequences(y, size, self.num_sequences)
        directions = [y[:, : self.num_paths]]
        if self.directions == 2:
            directions.append(y[:, self.num_paths :].flip(-1))
        return torch.stack([grid for paths in directions for grid in self.restore_paths(paths, size)], 1)

    def index(self, size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """The flat position of each step, (K, T); the number of positions where a step reads zeros."""
        # one more than the position, so that the zeros a path reads are told from position 0
        count = torch.Size(size).numel()
        places = torch.arange(1, count + 1, device=device).reshape(1, 1, *size)
        found = self.sequences(places)[0, :, 0] - 1
        return torch.where(found < 0, count, found)

    def _check_grid(self, x: Tensor) -> None:
        if x.dim() != self.spatial_dims + 2:
            raise ValueError(
                f"x has shape {tuple(x.shape)}: this order reads (batch, channels and {self.spatial_dims} grid axes)"
            )

    def _check_sequences(self, y: Tensor, size: Sequence[int], count: int) -> None:
        if len(size) != self.spatial_dims:
            raise ValueError(f"size is {tuple(size)}: this order needs {self.spatial_dims} numbers")
        length = self.length(size)
        if y.dim() != 4 or y.shape[1] != count or y.shape[3] != length:
            raise ValueError(
                f"y has shape {tuple(y.shape)}: for a grid {tuple(size)} it must be (batch, {count}, channels, "
                f"{length})"
            )
