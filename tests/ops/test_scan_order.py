"""Scan orders: their exact sequences, and that restoring undoes them at any size."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from medmamba_monai.ops import scan_order

SIZES = {2: [(1, 1), (1, 5), (4, 3), (7, 2)], 3: [(1, 1, 1), (2, 3, 4), (5, 1, 2), (3, 4, 2)]}
ORDERS = [(name, dims) for name in ("raster", "bidirectional", "cross") for dims in (2, 3)]
EVERY = [(name, dims, size) for name, dims in ORDERS for size in SIZES[dims]]


@pytest.mark.parametrize(("name", "dims", "size"), EVERY)
def test_restore_undoes_sequences(name: str, dims: int, size: tuple[int, ...]) -> None:
    order = scan_order(name, spatial_dims=dims)
    x = torch.randn(2, 3, *size)
    sequences = order.sequences(x)
    assert sequences.shape == (2, order.num_sequences, 3, x[0, 0].numel())
    restored = order.restore(sequences, size)
    assert torch.equal(restored, x.unsqueeze(1).expand_as(restored))
    for path in order.restore_paths(order.paths(x), size):
        assert torch.equal(path, x)


@pytest.mark.parametrize(("name", "dims", "size"), EVERY)
def test_every_sequence_visits_every_position_once(name: str, dims: int, size: tuple[int, ...]) -> None:
    count = torch.Size(size).numel()
    positions = torch.arange(count).reshape(1, 1, *size)
    for sequence in scan_order(name, spatial_dims=dims).sequences(positions)[0, :, 0]:
        assert sorted(sequence.tolist()) == list(range(count))


def test_the_cross_order_in_2d_is_rows_columns_and_both_reversed() -> None:
    rows, columns, rows_back, columns_back = scan_order("cross").sequences(torch.arange(6).reshape(1, 1, 2, 3))[0, :, 0]
    assert rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert columns.tolist() == [0, 3, 1, 4, 2, 5]
    assert rows_back.tolist() == [5, 4, 3, 2, 1, 0]
    assert columns_back.tolist() == [5, 2, 4, 1, 3, 0]


def test_the_cross_order_in_3d_is_the_three_cyclic_orders_of_the_axes() -> None:
    depth, height, width = 2, 3, 4
    grid = torch.arange(depth * height * width).reshape(1, 1, depth, height, width)
    read = scan_order("cross", spatial_dims=3).sequences(grid)[0, :, 0].tolist()
    at = {(d, h, w): int(grid[0, 0, d, h, w]) for d, h, w in product(range(depth), range(height), range(width))}
    expected = [
        [at[d, h, w] for d, h, w in product(range(depth), range(height), range(width))],
        [at[d, h, w] for h, w, d in product(range(height), range(width), range(depth))],
        [at[d, h, w] for w, d, h in product(range(width), range(depth), range(height))],
    ]
    assert read == expected + [sequence[::-1] for sequence in expected]


def test_one_path_in_storage_order_is_a_view() -> None:
    x = torch.randn(1, 2, 3, 4)
    assert scan_order("bidirectional").paths(x).data_ptr() == x.data_ptr()


@pytest.mark.parametrize(
    ("name", "dims", "paths", "directions"),
    [
        ("raster", 2, 1, 1),
        ("bidirectional", 3, 1, 2),
        ("cross", 2, 2, 2),
        ("cross", 3, 3, 2),
    ],
)
def test_counts(name: str, dims: int, paths: int, directions: int) -> None:
    order = scan_order(name, spatial_dims=dims)
    assert (order.num_paths, order.directions, order.num_sequences) == (paths, directions, paths * directions)
    assert order.spatial_dims == dims


def test_faults_are_named() -> None:
    with pytest.raises(ValueError, match="no scan order 'sideways' in 2 dimensions.*'cross'"):
        scan_order("sideways")
    with pytest.raises(ValueError, match="in 4 dimensions"):
        scan_order("cross", spatial_dims=4)
    order = scan_order("cross")
    with pytest.raises(ValueError, match="2 grid axes"):
        order.paths(torch.zeros(1, 1, 2, 2, 2))
    with pytest.raises(ValueError, match=r"must be \(batch, 4, channels, 6\)"):
        order.restore(torch.zeros(1, 4, 1, 5), (2, 3))
    with pytest.raises(ValueError, match="needs 2 numbers"):
        order.restore(torch.zeros(1, 4, 1, 6), (6,))
