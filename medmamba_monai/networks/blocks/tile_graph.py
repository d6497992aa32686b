"""The graph of a slide's tiles and the walks through its spanning tree, as MamMIL reads them."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor


def tile_graph(places: Tensor, features: Tensor, neighbours: int = 8) -> tuple[Tensor, Tensor]:
    """Join each tile with its nearest ones, span a tree over the most alike and walk through it three times.

    MamMIL (arXiv 2403.05160), section 2.2.

    Args:
        places: rows and columns of the tiles.
        features: features of the tiles; edges between alike ones are shorter.
        neighbours: nearest tiles that a tile is joined with.

    Shape:
        places (N, 2), features (N, C); returns edges (2, E), each both ways, and orders (3, N): depth first, a tile
        before its children; depth first, a tile after its children; breadth first.

    Raises:
        ValueError: when both do not have one row a tile.

    Example:
        >>> places = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
        >>> tile_graph(places, torch.ones(3, 1), neighbours=1)[1].tolist()
        [[0, 2, 1], [1, 2, 0], [0, 2, 1]]

    Notes:
        A part of the slide without an edge to the others gets a tree of its own; their walks follow each other.
    """
    count = len(places)
    if places.dim() != 2 or features.dim() != 2 or len(features) != count or count == 0:
        raise ValueError(
            f"places and features have shapes {tuple(places.shape)} and {tuple(features.shape)}: give (tiles, 2) and "
            "(tiles, channels)"
        )
    pairs = _nearest(places, min(neighbours, count - 1))
    lengths = (features[pairs[0]] - features[pairs[1]]).square().sum(1)
    tree = _spanning_tree(count, pairs[:, lengths.argsort(stable=True)].T.tolist())
    edges = torch.cat((pairs, pairs.flip(0)), 1)
    return edges, torch.tensor(_walks(tree), dtype=torch.long)


def _nearest(places: Tensor, neighbours: int) -> Tensor:
    """Each pair of near tiles once, the smaller number first: (2, pairs)."""
    found = torch.cdist(places.double(), places.double()).argsort(dim=1, stable=True)[:, : neighbours + 1]
    start = torch.arange(len(places)).unsqueeze(1).expand_as(found)
    both = torch.stack((torch.minimum(start, found), torch.maximum(start, found))).flatten(1)
    pairs: Tensor = torch.unique(both[:, both[0] != both[1]], dim=1)
    return pairs


def _spanning_tree(count: int, pairs: list[list[int]]) -> list[list[int]]:
    """Kruskal's tree from pairs in ascending order of length: the neighbours of each tile in it."""
    root = list(range(count))

    def top(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    tree: list[list[int]] = [[] for _ in range(count)]
    for a, b in pairs:
        if top(a) != top(b):
            root[top(a)] = top(b)
            tree[a].append(b)
            tree[b].append(a)
    return tree


def _walks(tree: list[list[int]]) -> list[list[int]]:
    before, after, breadth = [], [], []
    seen: set[int] = set()
    for start in range(len(tree)):
        if start in seen:
            continue
        stack, parent = [(start, False)], {start: -1}
        while stack:
            node, done = stack.pop()
            if done:
                after.append(node)
                continue
            before.append(node)
            stack.append((node, True))
            for child in reversed(tree[node]):
                if child != parent[node]:
                    parent[child] = node
                    stack.append((child, False))
        queue = deque([start])
        while queue:
            node = queue.popleft()
            breadth.append(node)
            queue.extend(child for child in tree[node] if child != parent[node])
        seen.update(parent)
    return [before, after, breadth]
