"""One way through a grid: a view of it along its axes, or a table of positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops.scan_orders.curves import CURVES
from medmamba_monai.ops.scan_orders.hilbert import hilbert, hilbert_inverted

CURVE_FUNCTIONS = {**CURVES, "hilbert": hilbert, "hilbert_inverted": hilbert_inverted}
_CACHED = 256


class Table(NamedTuple):
    """A path over a grid of one size on one device.

    index (T,) holds the position of each step, and the number of positions where a step reads zeros; inverse (L,)
    the step that reads each position, and the number of steps for positions that none reads.
    """

    index: Tensor
    inverse: Tensor
    padded: bool
    partial: bool


@dataclass(frozen=True)
class AxesPath:
    """A view: the grid read along its axes, from the slowest to the fastest, perhaps backwards."""

    axes: tuple[int, ...]
    backward: bool = False
    restarts: int = 0

    def length(self, size: Sequence[int]) -> int:
        """T, the steps of the path."""
        length = 1
        for n in size:
            length *= n
        return length

    def segments(self, size: Sequence[int]) -> int:
        """Into how many equal parts that know nothing of each other the steps fall."""
        return math.prod(size[a] for a in self.axes[: self.restarts])

    def is_whole(self, size: Sequence[int]) -> bool:
        """Whether the path visits each position once, without zeros between and in one part."""
        return not self.restarts

    def read(self, x: Tensor) -> Tensor:
        """(B, D, *S) to (B, D, T)."""
        y = x.permute(0, 1, *(a + 2 for a in self.axes)).flatten(2)
        return y.flip(-1) if self.backward else y

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """(B, D, T) to (B, D, *S)."""
        y = y.flip(-1) if self.backward else y
        grid = y.reshape(*y.shape[:-1], *(size[a] for a in self.axes))
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        restored: Tensor = grid.permute(0, 1, *(a + 2 for a in back))
        return restored


@dataclass(frozen=True)
class TablePath:
    """A path given by a curve of `medmamba_monai.ops.scan_orders.curves`, with its arguments."""

    curve: str
    arguments: tuple[int | str, ...] = ()
    backward: bool = False
    restarts: bool = False

    def table(self, size: Sequence[int], device: torch.device) -> Table:
        """The steps over a grid of this size."""
        return _table(self.curve, self.arguments, self.backward, tuple(int(n) for n in size), device)

    def length(self, size: Sequence[int]) -> int:
        """T, the steps of the path."""
        return self.table(size, torch.device("cpu")).index.numel()

    def segments(self, size: Sequence[int]) -> int:
        """Into how many equal parts that know nothing of each other the steps fall."""
        if not self.restarts:
            return 1
        return self.length(size) // int(self.arguments[0]) ** len(size)

    def is_whole(self, size: Sequence[int]) -> bool:
        """Whether the path visits each position once, without zeros between and in one part."""
        table = self.table(size, torch.device("cpu"))
        return not (self.restarts or table.padded or table.partial)

    def read(self, x: Tensor) -> Tensor:
        """(B, D, *S) to (B, D, T)."""
        table = self.table(x.shape[2:], x.device)
        x = x.flatten(2)
        return (F.pad(x, (0, 1)) if table.padded else x).index_select(-1, table.index)

    def write(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """(B, D, T) to (B, D, *S); zeros where the path does not come."""
        table = self.table(size, y.device)
        y = (F.pad(y, (0, 1)) if table.partial else y).index_select(-1, table.inverse)
        return y.reshape(*y.shape[:-1], *size)


Path = AxesPath | TablePath
_tables: dict[tuple[object, ...], Table] = {}


def _table(
    curve: str, arguments: tuple[int | str, ...], backward: bool, size: tuple[int, ...], device: torch.device
) -> Table:
    key = (curve, arguments, backward, size, device)
    if key in _tables:
        return _tables[key]
    index = CURVE_FUNCTIONS[curve](size, *arguments)
    index = (index.flip(0) if backward else index).to(device)
    count, steps = math.prod(size), index.numel()
    padded = curve in ("windows", "lattice", "atrous", "interleaved") and bool((index == count).any())
    inverse = torch.full((count + 1,), steps, device=device).scatter(0, index, torch.arange(steps, device=device))
    table = Table(index, inverse[:count], padded, curve == "atrous")
    # While a graph is recorded tensors stand for values that are not known yet.
    if type(index) is Tensor:
        if len(_tables) >= _CACHED:
            _tables.pop(next(iter(_tables)))
        _tables[key] = table
    return table
