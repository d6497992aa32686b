"""Curves over a grid: each is a list of flat positions in the order in which they are visited."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Size = tuple[int, ...]


def coordinates(size: Sequence[int]) -> list[Tensor]:
    """The coordinates of all positions in storage order, an axis each.

    Example:
        >>> [axis.tolist() for axis in coordinates((2, 2))]
        [[0, 0, 1, 1], [0, 1, 0, 1]]
    """
    place, found = torch.arange(math.prod(size), device="cpu"), []
    for n in reversed(size):
        found.append(place % n)
        place = place // n
    return found[::-1]


def flat(places: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Flat positions of coordinates; those outside the grid become the number of its positions."""
    index, inside = torch.zeros_like(places[0]), torch.ones_like(places[0], dtype=torch.bool)
    for place, n in zip(places, size, strict=True):
        index, inside = index * n + place, inside & (place >= 0) & (place < n)
    return torch.where(inside, index, math.prod(size))


def by_keys(*keys: Tensor) -> Tensor:
    """Positions sorted by the first key, those with equal ones by the second and so on, at last as they are stored.

    Example:
        >>> by_keys(torch.tensor([1, 0, 1, 0]), torch.tensor([0, 1, -1, 0])).tolist()
        [3, 1, 2, 0]
    """
    order = torch.arange(keys[0].numel(), device="cpu")
    for key in reversed(keys):
        order = order[torch.argsort(key[order], stable=True)]
    return order


def axes_of(letters: str, spatial_dims: int) -> tuple[int, ...]:
    """The axes that letters name, from the slowest to the fastest; "" is the storage order.

    Raises:
        ValueError: when the letters are not those of the grid's axes.

    Example:
        >>> axes_of("wdh", 3)
        (2, 0, 1)
    """
    names = "dhw"[-spatial_dims:]
    if letters and sorted(letters) != sorted(names):
        raise ValueError(f"the axes are {letters!r}: name each of {names!r} once, the slowest first")
    return tuple(names.index(letter) for letter in letters or names)


def snake(size: Size, axes: str = "") -> Tensor:
    """Line after line, every second one backwards (in 3D every second slice too): all steps join neighbours."""
    return by_keys(*_turning(coordinates(size), size, axes_of(axes, len(size))))


def _turning(places: Sequence[Tensor], size: Size, axes: Sequence[int]) -> list[Tensor]:
    """Keys of a walk that turns round at the end of each line."""
    keys: list[Tensor] = []
    walked = torch.zeros_like(places[0])
    for axis in axes:
        place = torch.where(walked % 2 == 0, places[axis], size[axis] - 1 - places[axis])
        walked = walked * size[axis] + place
        keys.append(place)
    return keys


def zigzag(size: Size, number: int = 0) -> Tensor:
    """A snake from one of the corners along one of the axes, in the order of ZigMa (arXiv 2403.13802).

    In 2D number // 2 is the corner (upper left, upper right, lower left, lower right) and number % 2 tells rows from
    columns; in 3D there are 8 corners and 3 cyclic orders of the axes.
    """
    axes = ((0, 1), (1, 0)) if len(size) == 2 else ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    corner, kind = divmod(number % (2 ** len(size) * len(axes)), len(axes))
    return by_keys(*_turning(_from_corner(coordinates(size), size, corner), size, axes[kind]))


def _from_corner(places: Sequence[Tensor], size: Size, corner: int) -> list[Tensor]:
    """Coordinates counted from a corner, whose bits tell the axes (the last the lowest) that run backwards."""
    flips = [corner >> (len(size) - 1 - axis) & 1 for axis in range(len(size))]
    return [n - 1 - place if flip else place for place, n, flip in zip(places, size, flips, strict=True)]


def diagonal(size: Size, corner: int = 0) -> Tensor:
    """Diagonal after diagonal away from a corner; in 3D plane after plane."""
    places = _from_corner(coordinates(size), size, corner)
    return by_keys(torch.stack(places).sum(0), *places)


def diagonal_snake(size: Size, corner: int = 0, axes: str = "") -> Tensor:
    """Diagonals away from a corner, every second one backwards; the first step goes along the first of the axes."""
    places = _from_corner(coordinates(size), size, corner)
    level = torch.stack(places).sum(0)
    turn = 1 - 2 * (level % 2)
    return by_keys(level, *(turn * places[axis] for axis in axes_of(axes, len(size))))


def diagonal_wrapped(size: Size, mirrored: int = 0) -> Tensor:
    """Diagonals that go on at the other side, all of equal length, as in RS-Mamba (arXiv 2404.02668).

    Diagonal number w holds (h, (w + h) mod W) for growing h, or (h, (w - h) mod W); in 3D d + h stands for h.
    """
    *others, last = coordinates(size)
    shift = torch.stack(others).sum(0)
    return by_keys((last + shift if mirrored else last - shift) % size[-1], *others)


def spiral(size: Size, axes: str = "", corner: int = 0) -> Tensor:
    """Round and round from a corner to the centre; in 3D slices alternate between inwards and outwards.

    All steps join neighbours.
    """
    ordered = axes_of(axes, len(size))
    places = _from_corner(coordinates(size), size, corner)
    row, column = places[ordered[-2]], places[ordered[-1]]
    rows, columns = size[ordered[-2]], size[ordered[-1]]
    ring = torch.stack((row, rows - 1 - row, column, columns - 1 - column)).amin(0)
    row, column, below, right = row - ring, column - ring, rows - 1 - ring, columns - 1 - ring
    height, width = below - ring, right - ring
    round_ = torch.where(
        row == 0,
        column,
        torch.where(
            column == width,
            width + row,
            torch.where(row == height, 2 * width + height - column, 2 * (width + height) - row),
        ),
    )
    if len(size) == 2:
        return by_keys(ring, round_)
    slices = places[ordered[0]]
    turn = 1 - 2 * (slices % 2)
    return by_keys(slices, turn * ring, turn * round_)


def radial(size: Size) -> Tensor:
    """From the centre outwards: by the distance, then by the angle (in 3D by the slice, then by the angle)."""
    centred = [2 * place - (n - 1) for place, n in zip(coordinates(size), size, strict=True)]
    distance = torch.stack([place.square() for place in centred]).sum(0)
    return by_keys(distance, *centred[:-2], torch.atan2(centred[-2].double(), centred[-1].double()))


def windows(size: Size, side: int, axes: str = "") -> Tensor:
    """Window after window, line by line inside each, as in LocalMamba (arXiv 2403.09338); the grid is padded."""
    ordered = axes_of(axes, len(size))
    whole = [-(-n // side) * side for n in size]
    places = coordinates(whole)
    order = by_keys(*(places[a] // side for a in ordered), *(places[a] % side for a in ordered))
    return flat(places, size)[order]


def lattice(size: Size, step: int) -> Tensor:
    """The step ** n lattices of a stride one after another, as LKM-UNet's code groups pixels; the grid is padded."""
    whole = [-(-n // step) * step for n in size]
    places = coordinates(whole)
    return flat(places, size)[by_keys(*(p % step for p in places), *(p // step for p in places))]


def strips(size: Size, width: int, axis: str) -> Tensor:
    """Strips across an axis one after another, that axis the fastest inside each; as in SliceMamba (2407.08481)."""
    across = "dhw"[-len(size) :].index(axis)
    places = coordinates(size)
    others = [place for a, place in enumerate(places) if a != across]
    return by_keys(places[across] // width, *others, places[across])


def atrous(size: Size, step: int, number: int) -> Tensor:
    """One of the step ** n lattices of a stride, as in EfficientVMamba (arXiv 2403.09977); the grid is padded.

    The digits of the number in base ``step`` are the offsets, that of the first axis the lowest. Even offsets along
    the first axis read line by line, odd ones column by column.
    """
    offsets = [number // step**axis % step for axis in range(len(size))]
    short = [-(-n // step) for n in size]
    places = coordinates(short)
    order = by_keys(*(places if offsets[0] % 2 == 0 else places[::-1]))
    read = flat([step * place + offset for place, offset in zip(places, offsets, strict=True)], size)
    return read[order]


def interleaved(size: Size, step: int) -> Tensor:
    """Positions j, j + step, ... for j = 0, 1, ..., padded at the end, as in MambaMIL (arXiv 2403.06800)."""
    length = math.prod(size)
    return flat([by_keys(torch.arange(-(-length // step) * step, device="cpu") % step)], [length])


def shuffled(size: Size, seed: int = 0) -> Tensor:
    """A random order, the same for the same seed."""
    return torch.randperm(math.prod(size), generator=torch.Generator("cpu").manual_seed(seed), device="cpu")


def morph_blocks(size: Size) -> Tensor:
    """Where the released VMambaMorph (arXiv 2404.05105) puts the steps of a path that reads the axes (1, 0, 2).

    It takes the path for blocks of as many positions as the first two axes have, and transposes each block; the true
    inverse would take it for axes (1, 0, 2).
    """
    first, second, blocks = size
    block, column, row = coordinates((blocks, second, first))
    return (block * first + row) * second + column


CURVES: dict[str, Callable[..., Tensor]] = {
    "snake": snake,
    "zigzag": zigzag,
    "diagonal": diagonal,
    "diagonal_snake": diagonal_snake,
    "diagonal_wrapped": diagonal_wrapped,
    "spiral": spiral,
    "radial": radial,
    "windows": windows,
    "lattice": lattice,
    "strips": strips,
    "atrous": atrous,
    "interleaved": interleaved,
    "shuffled": shuffled,
}
