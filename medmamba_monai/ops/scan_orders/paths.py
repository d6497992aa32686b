"""One way through a grid: a view of it along its axes, or a table of positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops.scan_orders.curves import CURVES, morph_blocks
from medmamba_monai.ops.scan_orders.hilbert import hilbert, hilbert_inverted

CURVE_FUNCTIONS: dict[str, Callable[..., Tensor]] = {**CURVES, "hilbert": hilbert, "hilbert_released": hilbert_inverted}
CACHED = 256


class Path:
    """One way through a grid of T steps, forwards; (B, D, *S) is read to (B, D, T) and written back.

    A step may read zeros, and a path may leave positions out: those are written as zeros.
    """

    def length(self, size: Sequence[int]) -> int:
        """T, the steps over a grid of this size."""
        length = 1
        for n in size:
            length *= n
        return length

    def segments(self, size: Sequence[int]) -> int:
        """Into how many equal parts that know nothing of each other the steps fall."""
        return 1

    def is_whole(self, size: Sequence[int]) -> bool:
        """Whether the path visits each position once, alike for all samples and channels, in one part, no zeros."""
        return True

    @property
    def covers_all(self) -> bool:
        """Whether the path comes to every position of a grid."""
        return True

    def bind(self, x: Tensor, training: bool) -> Path:
        """The path for this grid, where it is drawn at random or depends on the grid's content."""
        return self

    def read(self, x: Tensor) -> Tensor:
        """(B, D, *S) to (B, D, T)."""
        raise NotImplementedError

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """(B, D, T) to (B, D, *S)."""
        raise NotImplementedError


@dataclass(frozen=True)
class AxesPath(Path):
    """A view: the grid read along its axes, from the slowest to the fastest, perhaps backwards.

    Each combination of the first ``restarts`` axes is a part for itself.
    """

    axes: tuple[int, ...]
    backward: bool = False
    restarts: int = 0

    def segments(self, size: Sequence[int]) -> int:
        return math.prod(size[a] for a in self.axes[: self.restarts])

    def is_whole(self, size: Sequence[int]) -> bool:
        return not self.restarts

    def read(self, x: Tensor) -> Tensor:
        y = x.permute(0, 1, *(a + 2 for a in self.axes)).flatten(2)
        return y.flip(-1) if self.backward else y

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        y = y.flip(-1) if self.backward else y
        grid = y.reshape(*y.shape[:-1], *(size[a] for a in self.axes))
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        restored: Tensor = grid.permute(0, 1, *(a + 2 for a in back))
        return restored


class Table(NamedTuple):
    """A path over a grid of one size on one device.

    order (T,) holds the position of each step, and the number of positions where a step reads zeros; inverse (L,) the
    step that reads each position, and the number of steps for positions that none reads.
    """

    order: Tensor
    inverse: Tensor
    padded: bool
    partial: bool


@dataclass(frozen=True)
class TablePath(Path):
    """A path given by a curve of `medmamba_monai.ops.scan_orders.curves`, with its arguments.

    With ``slices`` a volume is read slice by slice, each by the curve in 2D and each for itself; with ``restarts``
    the windows or lattices of the curve are parts for themselves.
    """

    curve: str
    arguments: tuple[int | str, ...] = ()
    backward: bool = False
    restarts: bool = False
    slices: bool = False

    def table(self, size: Sequence[int], device: torch.device) -> Table:
        """The steps over a grid of this size; kept for the next call."""
        key = (self, tuple(int(n) for n in size), device)
        if key not in TABLES:
            table = self._build(key[1], device)
            # While a graph is recorded tensors stand for values that are not known yet.
            if type(table.order) is not Tensor:
                return table
            if len(TABLES) >= CACHED:
                TABLES.pop(next(iter(TABLES)))
            TABLES[key] = table
        return TABLES[key]

    def length(self, size: Sequence[int]) -> int:
        return self.table(size, torch.device("cpu")).order.numel()

    def segments(self, size: Sequence[int]) -> int:
        if self.slices:
            return size[0]
        if not self.restarts:
            return 1
        block: int = int(self.arguments[0]) ** len(size)
        return block if self.curve == "lattice" else self.length(size) // block

    def is_whole(self, size: Sequence[int]) -> bool:
        table = self.table(size, torch.device("cpu"))
        return not (self.restarts or self.slices or table.padded or table.partial)

    @property
    def covers_all(self) -> bool:
        return self.curve != "atrous"

    def bind(self, x: Tensor, training: bool) -> Path:
        if self.curve == "shuffled" and training:
            return GivenPath(torch.randperm(x[0, 0].numel(), device=x.device).expand(x.shape[0], -1))
        return self

    def read(self, x: Tensor) -> Tensor:
        table = self.table(x.shape[2:], x.device)
        x = x.flatten(2)
        return (F.pad(x, (0, 1)) if table.padded else x).index_select(-1, table.order)

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        table = self.table(size, y.device)
        y = (F.pad(y, (0, 1)) if table.partial else y).index_select(-1, table.inverse)
        return y.reshape(*y.shape[:-1], *size)

    def _build(self, size: tuple[int, ...], device: torch.device) -> Table:
        count = math.prod(size)
        if self.slices:
            within = CURVE_FUNCTIONS[self.curve](size[1:], *self.arguments)
            order = (torch.arange(size[0], device="cpu")[:, None] * math.prod(size[1:]) + within).flatten()
        else:
            order = CURVE_FUNCTIONS[self.curve](size, *self.arguments)
        order = (order.flip(0) if self.backward else order).to(device)
        steps = torch.arange(order.numel(), device=device)
        inverse = torch.full((count + 1,), order.numel(), device=device).scatter(0, order, steps)[:count]
        # told from sizes alone: while a graph is recorded the values are not known
        padded = order.numel() > count or (not self.covers_all and any(n % int(self.arguments[0]) for n in size))
        return Table(order, inverse, padded, not self.covers_all)


TABLES: dict[tuple[TablePath, tuple[int, ...], torch.device], Table] = {}


@dataclass(frozen=True, eq=False)
class GivenPath(Path):
    """A permutation of the positions for each sample, (B, L)."""

    order: Tensor

    def is_whole(self, size: Sequence[int]) -> bool:
        return False

    def read(self, x: Tensor) -> Tensor:
        return x.flatten(2).gather(-1, self.order[:, None].expand(-1, x.shape[1], -1))

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        inverse = self.order.argsort(-1)
        return y.gather(-1, inverse[:, None].expand(-1, y.shape[1], -1)).reshape(*y.shape[:-1], *size)


@dataclass(frozen=True)
class ContentPath(Path):
    """An order of the positions that follows from what the grid holds; it must be bound before it is written.

    Args:
        sort: from a grid (B, D, *S) to an order (B, L).
    """

    sort: Callable[[Tensor], Tensor]

    def is_whole(self, size: Sequence[int]) -> bool:
        return False

    def bind(self, x: Tensor, training: bool) -> Path:
        return GivenPath(self.sort(x.detach()))

    def read(self, x: Tensor) -> Tensor:
        return self.bind(x, False).read(x)

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        raise ValueError("this order depends on what the grid holds: bind it to the grid first, order.bind(x)")


@dataclass(frozen=True)
class FlippedChannelsPath(Path):
    """Another path on the grid with its channels in reverse order."""

    path: Path

    def is_whole(self, size: Sequence[int]) -> bool:
        return False

    def read(self, x: Tensor) -> Tensor:
        return self.path.read(x.flip(1))

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        return self.path.write(y, size).flip(1)


@dataclass(frozen=True)
class PooledPath(Path):
    """Another path on the means of blocks; what it gives is written to all positions of a block."""

    path: Path
    side: int

    def _blocks(self, size: Sequence[int]) -> list[int]:
        return [-(-n // self.side) for n in size]

    def length(self, size: Sequence[int]) -> int:
        return self.path.length(self._blocks(size))

    def is_whole(self, size: Sequence[int]) -> bool:
        return False

    def read(self, x: Tensor) -> Tensor:
        pool = F.avg_pool2d if x.dim() == 4 else F.avg_pool3d
        missing = [amount for n in reversed(x.shape[2:]) for amount in (0, -n % self.side)]
        # blocks at the border count the positions inside the grid only
        inside = pool(F.pad(torch.ones_like(x[:1, :1]), missing), self.side)
        return self.path.read(pool(F.pad(x, missing), self.side) / inside)

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        grid = self.path.write(y, self._blocks(size))
        for axis, n in enumerate(size, 2):
            grid = grid.repeat_interleave(self.side, axis).narrow(axis, 0, n)
        return grid


@dataclass(frozen=True)
class MorphPath(AxesPath):
    """Reads the axes (1, 0, 2) and writes with the wrong inverse of the released VMambaMorph (arXiv 2404.05105)."""

    axes: tuple[int, ...] = (1, 0, 2)

    def is_whole(self, size: Sequence[int]) -> bool:
        return False

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        places = morph_blocks(tuple(size)).to(y.device)
        return y.index_select(-1, places.argsort()).reshape(*y.shape[:-1], *size)


@dataclass(frozen=True)
class UnturnedPath(AxesPath):
    """Reads each line backwards and writes it as if it were read forwards, as the released cascade of VMamba does."""

    def is_whole(self, size: Sequence[int]) -> bool:
        return False

    def read(self, x: Tensor) -> Tensor:
        return super().read(x.flip(self.axes[-1] + 2))
