"""The Hilbert curve, generalised to grids of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

Vector = tuple[int, ...]
# A box: its first position and its edges, signed vectors; the curve starts there and ends along the first edge.
Box = tuple[Vector, tuple[Vector, ...]]


def hilbert(size: Vector, number: int = 0) -> Tensor:
    """The Hilbert curve, cut to a grid of any size by halving boxes; ``number`` picks one of its mirror images.

    In 2D number // 2 is the corner where it starts, and odd numbers exchange rows and columns; in 3D number is the
    corner. All steps join neighbours in 2D; in 3D where all sides are even, elsewhere few of them are diagonal.
    """
    dims = len(size)
    corner, exchanged = divmod(number % 2**3, 2) if dims == 2 else (number % 2**3, 0)
    places = torch.tensor(_curve(size[::-1] if exchanged else size), device="cpu")
    places = places.flip(-1) if exchanged else places
    index = torch.zeros(math.prod(size), dtype=torch.long, device="cpu")
    for axis, n in enumerate(size):
        mirrored = corner >> (dims - 1 - axis) & 1
        index = index * n + (n - 1 - places[:, axis] if mirrored else places[:, axis])
    return index


def hilbert_inverted(size: Vector, number: int = 0) -> Tensor:
    """The curve's inverse permutation read as if it were the curve, as the released ZigMa (arXiv 2403.13802) does."""
    return torch.argsort(hilbert(size, number))


@lru_cache(maxsize=8)
def _curve(size: Vector) -> list[Vector]:
    edges = [tuple(n if axis == other else 0 for other in range(len(size))) for axis, n in enumerate(size)]
    # A walk over an even number of positions ends on the other colour of the chess board: along an even edge.
    edges.sort(key=lambda edge: (-sum(edge) if sum(edge) % 2 == 0 else 0, -sum(edge)))
    return list(_walk((0,) * len(size), tuple(edges)))


def _walk(start: Vector, edges: tuple[Vector, ...]) -> Iterator[Vector]:
    lengths = [_length(edge) for edge in edges]
    if sum(n > 1 for n in lengths) <= 1:
        step = _unit(edges[lengths.index(max(lengths))])
        for i in range(max(lengths)):
            yield tuple(p + i * s for p, s in zip(start, step, strict=True))
        return
    for corner, box in _parts_2d(start, edges) if len(edges) == 2 else _parts_3d(start, edges):
        if all(map(any, box)):
            yield from _walk(corner, box)


def _parts_2d(start: Vector, edges: tuple[Vector, ...]) -> list[Box]:
    a, b = edges
    if 2 * _length(a) > 3 * _length(b):
        half = _half(a)
        return [(start, (half, b)), (_add(start, half), (_minus(a, half), b))]
    half_a, half_b = _half(a, even=False), _half(b)
    return [
        (start, (half_b, half_a)),
        (_add(start, half_b), (a, _minus(b, half_b))),
        (_add(start, _last(a), _last(half_b)), (_turned(half_b), _minus(half_a, a))),
    ]


def _parts_3d(start: Vector, edges: tuple[Vector, ...]) -> list[Box]:
    a, b, c = edges
    width, height, depth = map(_length, edges)
    half_a, half_b, half_c = map(_half, edges)
    rest_a, rest_b, rest_c = _minus(half_a, a), _minus(b, half_b), _minus(c, half_c)
    if 2 * width > 3 * max(height, depth):
        return [(start, (half_a, b, c)), (_add(start, half_a), (_turned(rest_a), b, c))]
    if 3 * height > 4 * depth:
        return [
            (start, (half_b, c, half_a)),
            (_add(start, half_b), (a, rest_b, c)),
            (_add(start, _last(a), _last(half_b)), (_turned(half_b), c, rest_a)),
        ]
    if 3 * depth > 4 * height:
        return [
            (start, (half_c, half_a, b)),
            (_add(start, half_c), (a, b, rest_c)),
            (_add(start, _last(a), _last(half_c)), (_turned(half_c), rest_a, b)),
        ]
    return [
        (start, (half_b, half_c, half_a)),
        (_add(start, half_b), (c, half_a, rest_b)),
        (_add(start, _last(half_b), _last(c)), (a, _turned(half_b), _turned(rest_c))),
        (_add(start, _last(a), half_b, _last(c)), (_turned(c), rest_a, rest_b)),
        (_add(start, _last(a), _last(half_b)), (_turned(half_b), half_c, rest_a)),
    ]


def _length(edge: Vector) -> int:
    return abs(sum(edge))


def _unit(edge: Vector) -> Vector:
    return tuple((n > 0) - (n < 0) for n in edge)


def _half(edge: Vector, even: bool = True) -> Vector:
    """Half of an edge; an even half (of more than 2) lets the curve leave each part where the next begins."""
    length = _length(edge) // 2
    length += even and length % 2 and _length(edge) > 2
    return tuple(length * n for n in _unit(edge))


def _last(edge: Vector) -> Vector:
    """The last position along an edge."""
    return _minus(edge, _unit(edge))


def _add(*vectors: Vector) -> Vector:
    return tuple(map(sum, zip(*vectors, strict=True)))


def _minus(a: Vector, b: Vector) -> Vector:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def _turned(edge: Vector) -> Vector:
    return tuple(-n for n in edge)
