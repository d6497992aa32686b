"""Every order of the table: permutations, inverses, neighbours, gradients, and the definitions of the papers."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from medmamba_monai.ops import ScanOrder, scan_order
from medmamba_monai.ops.scan_orders import paths
from medmamba_monai.ops.scan_orders.content import breadth_first_order, semantic_order, tree_order
from medmamba_monai.ops.scan_orders.table import ORDERS

SIZES = {2: [(1, 1), (1, 6), (5, 1), (5, 7), (6, 4), (3, 8)], 3: [(1, 1, 1), (3, 4, 5), (2, 6, 4), (5, 1, 2)]}
EVERY = [(name, dims, size) for name in ORDERS for dims in ORDERS[name].paths for size in SIZES[dims]]

# What is not the identity after it is put back: the released faults, and the means of blocks.
LOSSY = {"patch", "atrous_released", "cascade_released", "vmambamorph_released"}
# Zeros are read where windows, lattices or columns do not divide the grid.
PADDED = {"local", "pixel", "pixel_released", "reordered"}
# Each sequence comes to one lattice only.
LATTICES = {"atrous", "atrous_released"}
CONTENT = {"semantic", "tree"}
# Their steps are the channels.
CHANNELS = {name for name, entry in ORDERS.items() if entry.channels}


def layers(name: str, dims: int) -> range:
    given = ORDERS[name].paths[dims]
    return range(len(given) if isinstance(given, tuple) else 1)


def bound(name: str, x: Tensor, layer: int = 0) -> ScanOrder:
    return scan_order(name, x.dim() - 2, layer).bind(x)


def steps_of(sequence: list[int], size: tuple[int, ...]) -> list[list[int]]:
    """How far each step goes along each axis."""
    places = [list(place) for place in product(*map(range, size))]
    return [[abs(b - a) for a, b in zip(places[i], places[j], strict=True)] for i, j in pairwise(sequence)]


@pytest.mark.parametrize(("name", "dims", "size"), EVERY)
def test_restore_undoes_sequences(name: str, dims: int, size: tuple[int, ...]) -> None:
    x = torch.randn(2, 4, *size)
    for layer in layers(name, dims):
        order = bound(name, x, layer)
        for part in order.one_by_one():
            restored = part.restore(part.sequences(x), size)
            assert restored.shape == (2, part.num_sequences, 4, *size)
            if name in LATTICES - LOSSY:
                assert torch.equal(restored.sum(1), x)
            elif name not in LOSSY:
                assert torch.equal(restored, x.unsqueeze(1).expand_as(restored))


def test_only_orders_called_released_are_faulty() -> None:
    x = torch.randn(1, 2, 5, 7)
    cube = torch.randn(1, 2, 4, 4, 4)
    for name in LOSSY:
        grid = x if 2 in ORDERS[name].paths else cube
        part = bound(name, grid).one_by_one()[0]
        assert not torch.equal(part.restore(part.sequences(grid), grid.shape[2:]).mean(1), grid)
        assert name.endswith("_released") or name == "patch"


@pytest.mark.parametrize(("name", "dims", "size"), [e for e in EVERY if e[0] not in CONTENT | CHANNELS | {"patch"}])
def test_every_sequence_visits_every_position_once(name: str, dims: int, size: tuple[int, ...]) -> None:
    count = torch.Size(size).numel()
    for layer in layers(name, dims):
        order = scan_order(name, dims, layer)
        index = order.index(size)
        assert index.shape == (order.num_sequences, order.length(size)) or order.cascade
        visits = [torch.bincount(line, minlength=count + 1)[:count] for line in index]
        if name in LATTICES:
            assert bool((torch.stack(visits).sum(0) <= 1).all())
            assert bool((torch.stack(visits).sum(0) == 1).all()) or name in LOSSY
        else:
            assert all(bool((line == 1).all()) for line in visits)
            assert index.shape[1] == count or name in PADDED


@pytest.mark.parametrize("name", ["snake", "zigzag", "hilbert", "spiral"])
def test_continuous_orders_join_neighbours(name: str) -> None:
    sizes = [*product(range(1, 9), range(1, 9)), (16, 16), (13, 32), (31, 12), (1, 40), (2, 37)]
    for size, layer in product(sizes, layers(name, 2)):
        for sequence in scan_order(name, 2, layer).index(size).tolist():
            assert all(sum(step) == 1 for step in steps_of(sequence, size)), (size, layer)


@pytest.mark.parametrize("name", ["snake", "zigzag", "hilbert", "spiral"])
def test_continuous_orders_join_neighbours_in_3d(name: str) -> None:
    even = [(2, 2, 2), (4, 4, 4), (2, 6, 4), (8, 4, 6), (1, 4, 6), (2, 2, 12)]
    odd = [(3, 4, 5), (5, 5, 5), (1, 3, 2), (7, 2, 3)]
    for size in even + odd:
        for sequence in scan_order(name, 3).index(size).tolist():
            steps = steps_of(sequence, size)
            # where a side is odd the Hilbert curve may move along two axes at once
            allowed = 2 if name == "hilbert" and size in odd else 1
            assert all(sum(step) <= allowed and max(step) == 1 for step in steps), size


def test_the_orders_of_layers_differ() -> None:
    for name, count in (("zigzag", 8), ("hilbert", 8)):
        assert len({tuple(scan_order(name, 2, layer).index((8, 8))[0].tolist()) for layer in range(count)}) == count
        assert torch.equal(scan_order(name, 2, count).index((8, 8)), scan_order(name).index((8, 8)))
    assert [scan_order("hierarchical:5", 2, layer).num_sequences for layer in range(4)] == [5, 3, 1, 1]


@pytest.mark.parametrize(("name", "dims", "size"), [e for e in EVERY if 1 not in e[2] and e[0] not in LOSSY])
def test_gradients_are_put_back(name: str, dims: int, size: tuple[int, ...]) -> None:
    x = torch.randn(2, 4, *size, requires_grad=True)
    for part in bound(name, x).one_by_one():
        read = part.sequences(x)
        weights = torch.randn_like(read)
        (found,) = torch.autograd.grad((read * weights).sum(), x)
        torch.testing.assert_close(found, part.restore(weights, size).sum(1))
        given = torch.randn_like(read, requires_grad=True)
        (back,) = torch.autograd.grad((part.restore(given, size) * x.detach()[:, None]).sum(), given)
        torch.testing.assert_close(back, read.detach())


def test_windows_strips_and_lattices() -> None:
    place = torch.arange(24).reshape(4, 6)
    windows = [place[i : i + 2, j : j + 2].flatten().tolist() for i in (0, 2) for j in (0, 2, 4)]
    assert scan_order("windows:2").index((4, 6))[0].tolist() == sum(windows, [])
    assert scan_order("windows:2,wh").index((4, 6))[0].tolist() == sum(
        (place[i : i + 2, j : j + 2].t().flatten().tolist() for j in (0, 2, 4) for i in (0, 2)), []
    )
    strips = scan_order("slice:3").index((4, 6)).tolist()
    assert strips[0] == place[:3].t().flatten().tolist() + place[3:].flatten().tolist()
    assert strips[1] == place[:, :3].flatten().tolist() + place[:, 3:].flatten().tolist()
    assert strips[2:] == [strips[0][::-1], strips[1][::-1]]
    lattices = [place[i::2, j::2] for j in (0, 1) for i in (0, 1)]
    expected = [grid.flatten() if k % 2 == 0 else grid.t().flatten() for k, grid in enumerate(lattices)]
    assert scan_order("atrous").index((4, 6)).tolist() == [line.tolist() for line in expected]
    # sides that 2 does not divide: zeros, which stand behind the last position
    assert scan_order("windows:2").index((1, 3))[0].tolist() == [0, 1, 3, 3, 2, 3, 3, 3]


def test_the_published_definitions() -> None:
    height, width = 3, 4
    wrapped = [h * width + (h + w) % width for w in range(width) for h in range(height)]
    mirrored = [h * width + (w - h) % width for w in range(width) for h in range(height)]
    found = scan_order("omnidirectional").index((height, width)).tolist()
    assert found[2:4] == [wrapped, mirrored] and found[6:] == [wrapped[::-1], mirrored[::-1]]
    assert scan_order("reordered:3").index((1, 7)).tolist()[1] == [0, 3, 6, 1, 4, 7, 2, 5, 7]
    volume = torch.arange(24).reshape(2, 3, 4)
    slices = torch.stack(volume.flatten().chunk(2), -1).flatten().tolist()
    for name in ("tri_oriented", "spatio_temporal"):
        assert scan_order(name, 3).index((2, 3, 4)).tolist() == [list(range(24)), list(range(24))[::-1], slices]
    assert scan_order("vmambamorph", 3).index((2, 3, 4))[1].tolist() == volume.transpose(0, 1).flatten().tolist()
    assert scan_order("diagonal").index((2, 3))[:2].tolist() == [[0, 1, 3, 2, 4, 5], [2, 1, 5, 0, 4, 3]]
    assert scan_order("spiral").index((3, 3))[0].tolist() == [4, 3, 6, 7, 8, 5, 2, 1, 0]
    assert scan_order("radial").index((3, 3))[0, 0] == 4
    assert scan_order("bidi").index((1, 2)).tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]


def test_the_faults_of_released_codes() -> None:
    # the wrong inverse brings few voxels home
    grid = torch.arange(64.0).reshape(1, 1, 4, 4, 4)
    order = scan_order("vmambamorph_released", 3)
    home = (order.restore(order.sequences(grid), (4, 4, 4)) == grid)[0, :, 0].flatten(1).float().mean(1)
    assert home.tolist() == [1.0, 0.0625, 1.0, 0.0625]
    # the inverse of the curve joins fewer neighbours
    steps = steps_of(scan_order("hilbert_released").index((8, 8))[0].tolist(), (8, 8))
    assert 0.3 < sum(sum(step) == 1 for step in steps) / len(steps) < 0.6
    # four lattices of stride 3 and 4 leave most positions out
    for step, share in ((2, 1.0), (3, 4 / 9), (4, 1 / 4)):
        assert scan_order(f"atrous_released:{step}").index((12, 12)).numel() / 144 == share
    # what is read backwards stays turned round
    part = scan_order("cascade_released").one_by_one()[0]
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.equal(part.restore(part.sequences(x), (2, 3))[0, :, 0], torch.stack((x[0, 0], x[0, 0].flip(-1))))


def test_blocks_are_read_by_their_means() -> None:
    order, x = scan_order("patch:2"), torch.arange(15.0).reshape(1, 1, 3, 5)
    means = [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
    assert order.sequences(x)[0, 0, 0].tolist() == means[0] + means[1]
    put_back = order.restore(order.sequences(x), (3, 5))[0, 1, 0]
    assert torch.equal(put_back, torch.tensor(means)[[0, 0, 1]][:, [0, 0, 1, 1, 2]])


def test_channels_are_steps() -> None:
    x = torch.randn(2, 3, 4, 5)
    read = scan_order("channel_bidirectional").sequences(x)
    assert torch.equal(read[:, 0], x.flatten(2).transpose(1, 2)) and torch.equal(read[:, 1], read[:, 0].flip(-1))
    flipped = scan_order("siamese").sequences(x)
    assert torch.equal(flipped[:, 3], x.flip(1).flatten(2).flip(-1))


def test_parts_know_nothing_of_each_other() -> None:
    for name, dims, size, parts in [
        ("h|w", 2, (3, 5), 3),
        ("d|hw", 3, (2, 3, 4), 2),
        ("hw|d", 3, (2, 3, 4), 12),
        ("d|hilbert", 3, (2, 3, 4), 2),
        ("pixel:2", 2, (3, 5), 6),
        ("pixel_released:2", 2, (3, 5), 4),
    ]:
        order = scan_order(name, dims)
        assert order.segments(size) == parts and not order.is_whole(size)
        assert order.length(size) % parts == 0
    # a window each, and the pixels at the same place of every window
    assert scan_order("pixel:2").index((2, 4))[0].tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    assert scan_order("pixel_released:2").index((2, 4))[0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert scan_order("d|snake:wh", 3).index((2, 2, 2))[0].tolist() == [0, 2, 3, 1, 4, 6, 7, 5]


def test_moves_are_told() -> None:
    # 1 right, 2 left, 3 down, 4 up
    assert scan_order("snake").moves((2, 3)).tolist()[:2] == [[0, 1, 1, 3, 2, 2], [0, 3, 1, 4, 1, 3]]
    assert scan_order("hw").moves((2, 2)).tolist() == [[0, 1, -1, 1]]
    assert scan_order("snake:dhw", 3).moves((2, 1, 2)).tolist() == [[0, 1, 5, 2]]


def test_random_orders_are_fixed_unless_training() -> None:
    order, x = scan_order("multi_path"), torch.arange(35.0).reshape(1, 1, 5, 7)
    fixed = order.bind(x)
    assert torch.equal(fixed.sequences(x), order.bind(x).sequences(x))
    torch.manual_seed(0)
    drawn = [order.bind(x, training=True) for _ in range(2)]
    assert not torch.equal(drawn[0].sequences(x), drawn[1].sequences(x))
    for each in drawn:
        assert torch.equal(each.restore(each.sequences(x), (5, 7))[:, 2], x)


def test_content_orders_follow_each_sample() -> None:
    scores = torch.randn(2, 3, 4, 5)
    for name, sort in (("semantic", semantic_order), ("tree", tree_order)):
        order = scan_order(name).bind(scores)
        read = order.sequences(scores)
        for sample in range(2):
            places = sort(scores)[sample]
            assert sorted(places.tolist()) == list(range(20))
            assert torch.equal(read[sample, 0], scores[sample].flatten(1)[:, places])
        with pytest.raises(ValueError, match="bind it to the grid first"):
            scan_order(name).restore(read, (4, 5))
    classes = scores.argmax(1).flatten(1)
    assert bool((classes.gather(1, semantic_order(scores)).diff(dim=1) >= 0).all())


def test_a_tree_order_goes_level_by_level() -> None:
    # a ring of five nodes: the dearest edge (0, 4) is left out, so the tree is a path
    edges = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
    costs = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert breadth_first_order(edges, 5, costs, root=2).tolist() == [2, 1, 3, 0, 4]
    assert breadth_first_order(edges[:, :2], 5).tolist() == [0, 1, 2, 3, 4]


def test_tables_are_kept() -> None:
    path = scan_order("spiral").steps[0]
    assert isinstance(path, paths.TablePath)
    cpu = torch.device("cpu")
    assert path.table((6, 7), cpu) is path.table((6, 7), cpu)
    for n in range(paths.CACHED + 5):
        path.table((1, n + 1), cpu)
    assert len(paths.TABLES) <= paths.CACHED


@pytest.mark.parametrize(
    ("name", "dims", "words"),
    [
        ("tri_oriented", 2, "use it in 3"),
        ("local:0", 2, "at least 1"),
        ("local:x", 2, "at least 1"),
        ("cross:2", 2, "no scan order 'cross:2'"),
        ("hw+nothing", 2, "'snake'"),
        ("dhw", 2, "no scan order 'dhw' in 2"),
        ("snake:hh", 2, "name each of 'hw' once"),
    ],
)
def test_faults_are_named(name: str, dims: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scan_order(name, dims).index((2,) * dims)
