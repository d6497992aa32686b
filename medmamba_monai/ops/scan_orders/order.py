"""A scan order: how a grid becomes K sequences and how they become the grid again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
        merge: how the sequences' results become one grid, see `medmamba_monai.networks.layers.merges`.
        cascade: so many paths at a time are scanned, one lot after another, each on what the one before gave; 0 for
            all at once.
        groups: parts of the channels that are scanned alike, with one set of parameters.

    Example:
        >>> from medmamba_monai.ops import scan_order
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
    cascade: int = 0
    groups: int = 1

    @property
    def num_paths(self) -> int:
        """P, the paths before directions are counted."""
        return len(self.steps)

    @property
    def num_sequences(self) -> int:
        """K, the sequences: paths times directions."""
        return self.num_paths * self.directions

    @property
    def scans_channels(self) -> bool:
        """Whether the channels are the steps of the sequences, and the positions their channels."""
        return False

    @property
    def covers_all(self) -> bool:
        """Whether every sequence comes to every position of a grid."""
        return all(step.covers_all for step in self.steps)

    def length(self, size: Sequence[int]) -> int:
        """T, the steps of each sequence over a grid of this size."""
        lengths = [step.length(size) for step in self.steps]
        return lengths[0] if len(lengths) == 1 else max(lengths)

    def segments(self, size: Sequence[int]) -> int:
        """Into how many equal parts each sequence falls; the state starts anew with each part."""
        return self.steps[0].segments(size)

    def is_whole(self, size: Sequence[int]) -> bool:
        """Whether a fused scan takes the order: each sequence visits each position once, with no zeros, in one part."""
        return not self.cascade and self.groups == 1 and all(step.is_whole(size) for step in self.steps)

    def one_by_one(self) -> tuple[ScanOrder, ...]:
        """The orders that are scanned one after another if this is a cascade, else itself."""
        if not self.cascade:
            return (self,)
        starts = range(0, self.num_paths, self.cascade)
        return tuple(replace(self, steps=self.steps[i : i + self.cascade], cascade=0) for i in starts)

    def bind(self, x: Tensor, training: bool = False) -> ScanOrder:
        """The order for this grid, where a path is drawn at random (anew while training) or follows from its content.

        Use what it returns to read and to restore.
        """
        steps = tuple(step.bind(x, training) for step in self.steps)
        return self if all(a is b for a, b in zip(steps, self.steps, strict=True)) else replace(self, steps=steps)

    def paths(self, x: Tensor) -> Tensor:
        """Read a grid along each path, forwards: (B, D, *S) to (B, P, D, T). One path in storage order is a view."""
        self._check_grid(x)
        read = [step.read(x) for step in self.steps]
        if len(read) == 1:
            return read[0].unsqueeze(1)
        # Zeros follow the shorter ones: from either end a scan meets them before or behind all that counts.
        longest = max(path.shape[-1] for path in read)
        read = [path if path.shape[-1] == longest else F.pad(path, (0, longest - path.shape[-1])) for path in read]
        return torch.stack(read, 1)

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
        count = torch.Size(size).numel()
        # counted from 1, so that position 0 is not taken for the zeros that a path may read
        places = torch.arange(1, count + 1, device=device).reshape(1, 1, *size)
        found = self.sequences(places)[0, :, 0] - 1
        return torch.where(found < 0, count, found)

    def moves(self, size: Sequence[int]) -> Tensor:
        """How each step follows the one before, (K, T): 0 starts, 1 + 2 i goes up along axis i (the last is 0), 2 + 2 i
        down, -1 is no step between neighbours.

        Example:
            >>> from medmamba_monai.ops import scan_order
            >>> scan_order("snake:hw").moves((2, 2)).tolist()
            [[0, 1, 3, 2]]
        """
        index = self.index(size)
        kinds = torch.full_like(index, -1)
        kinds[:, 0] = 0
        rest, steps, far = index, [], torch.zeros_like(index[:, 1:])
        for n in reversed(size):
            steps.append((rest % n).diff(dim=1))
            far, rest = far + steps[-1].abs(), rest // n
        for axis, step in enumerate(steps):
            for sign in (1, -1):
                kinds[:, 1:][(step == sign) & (far == 1)] = 1 + 2 * axis + (sign < 0)
        return kinds

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


class ChannelOrder(ScanOrder):
    """An order whose steps are the channels: each holds the whole grid, flattened along the one path.

    Shape:
        `sequences` takes (B, D, *S) to (B, K, L, D).
    """

    @property
    def scans_channels(self) -> bool:
        return True

    def is_whole(self, size: Sequence[int]) -> bool:
        return False

    def paths(self, x: Tensor) -> Tensor:
        return super().paths(x).transpose(2, 3)

    def restore_paths(self, y: Tensor, size: Sequence[int]) -> tuple[Tensor, ...]:
        return super().restore_paths(y.transpose(2, 3), size)

    def restore(self, y: Tensor, size: Sequence[int]) -> Tensor:
        directions = [y] if self.directions == 1 else [y[:, : self.num_paths], y[:, self.num_paths :].flip(-1)]
        return torch.stack([grid for paths in directions for grid in self.restore_paths(paths, size)], 1)
