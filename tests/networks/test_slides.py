"""Graphs of tiles, and what the networks for slides make of them."""

from __future__ import annotations

import pytest
import torch

from medmamba_monai.networks.blocks.graph import SoftmaxConv, softmax_at_targets
from medmamba_monai.networks.blocks.tile_graph import tile_graph
from medmamba_monai.networks.nets import MamMIL


def test_walks_follow_the_tree() -> None:
    places = torch.cartesian_prod(torch.arange(4.0), torch.arange(5.0))
    edges, orders = tile_graph(places, torch.randn(20, 3))
    assert all(sorted(walk) == list(range(20)) for walk in orders.tolist())
    joined = set(map(tuple, edges.T.tolist()))
    assert all((b, a) in joined for a, b in joined)
    # in the walk before the children every tile but the first is joined with one that came earlier
    before = orders[0].tolist()
    assert all(any((tile, other) in joined for other in before[:i]) for i, tile in enumerate(before) if i)
    assert orders[1].tolist()[-1] == before[0] == orders[2].tolist()[0]


def test_tiles_alike_are_joined_first() -> None:
    places = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    features = torch.tensor([[0.0], [5.0], [4.9]])
    # 1 and 2 are alike, 0 is nearer to 2
    assert tile_graph(places, features)[1][0].tolist() == [0, 2, 1]


def test_separate_tissue_gets_its_own_tree() -> None:
    places = torch.tensor([[0.0, 0.0], [0.0, 1.0], [90.0, 0.0], [90.0, 1.0]])
    _, orders = tile_graph(places, torch.ones(4, 1), neighbours=1)
    assert orders.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [0, 1, 2, 3]]


def test_softmax_is_taken_over_the_edges_of_a_target() -> None:
    scores, targets = torch.randn(5, 2), torch.tensor([1, 0, 1, 1, 0])
    weights = softmax_at_targets(scores, targets, 3)
    torch.testing.assert_close(weights[targets == 1], scores[targets == 1].softmax(0))


def test_nodes_without_neighbours_keep_to_themselves() -> None:
    conv, x = SoftmaxConv(4).eval(), torch.randn(3, 4)
    y = conv(x, torch.tensor([[0], [1]]))
    torch.testing.assert_close(y[2:], conv(x[2:], torch.zeros(2, 0, dtype=torch.long)))


def test_a_walk_that_does_not_fit_is_refused() -> None:
    net = MamMIL(4, 2, dim=8, d_state=4)
    with pytest.raises(ValueError, match="orders has shape"):
        net(torch.randn(1, 5, 4), torch.zeros(1, 2, 1, dtype=torch.long), torch.zeros(1, 3, 4, dtype=torch.long))
