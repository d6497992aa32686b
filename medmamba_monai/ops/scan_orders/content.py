"""Orders that follow from what a grid or a graph holds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor


def semantic_order(x: Tensor) -> Tensor:
    """Sort positions by their strongest channel, equal ones as they are stored: (B, D, *S) to (B, L).

    MambaIRv2 (arXiv 2411.15269) sorts tokens by the prompt that a router gives each: let x be the router's scores.

    Example:
        >>> scores = torch.tensor([[[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]]).reshape(1, 2, 2, 2)
        >>> semantic_order(scores).tolist()
        [[1, 3, 0, 2]]
    """
    return torch.argsort(x.flatten(2).argmax(1), dim=-1, stable=True)


def tree_order(x: Tensor) -> Tensor:
    """Breadth first through a minimum spanning tree of the grid from its first position: (B, D, *S) to (B, L).

    Neighbours along the axes are joined at the cost of the squared distance of their channels.

    Example:
        >>> tree_order(torch.tensor([[[[0.0, 9.0], [1.0, 2.0]]]])).tolist()
        [[0, 2, 3, 1]]
    """
    size = tuple(x.shape[2:])
    edges = _neighbours(size)
    tokens = x.flatten(2).double().cpu()
    costs = (tokens[..., edges[0]] - tokens[..., edges[1]]).square().sum(1)
    orders = [breadth_first_order(edges, math.prod(size), cost) for cost in costs]
    return torch.stack(orders).to(x.device)


def breadth_first_order(edges: Tensor, nodes: int, costs: Tensor | None = None, root: int = 0) -> Tensor:
    """Visit the nodes of a graph level by level along a minimum spanning tree.

    MamMIL (arXiv 2403.05160), section 2.2: instances of a slide in an order that a graph of them gives.

    Args:
        edges: pairs of nodes (2, E), each edge once.
        nodes: number of nodes; those that the root does not reach follow, the lowest first, each with its tree.
        costs: a cost for each edge (E,); all edges cost the same if None.
        root: the node to start from.

    Example:
        >>> edges = torch.tensor([[0, 1, 2, 0], [1, 2, 3, 3]])
        >>> breadth_first_order(edges, 5, torch.tensor([1.0, 5.0, 1.0, 2.0])).tolist()
        [0, 1, 3, 2, 4]
    """
    branches = _spanning_tree(edges, nodes, costs)
    seen, order = [False] * nodes, []
    for start in (root, *range(nodes)):
        waiting = deque([] if seen[start] else [start])
        seen[start] = True
        while waiting:
            node = waiting.popleft()
            order.append(node)
            for other in sorted(branches[node]):
                if not seen[other]:
                    seen[other] = True
                    waiting.append(other)
    return torch.tensor(order, device="cpu")


def _spanning_tree(edges: Tensor, nodes: int, costs: Tensor | None) -> list[list[int]]:
    """Kruskal's algorithm: the neighbours of each node in the tree."""
    parent = list(range(nodes))
    ordered = edges if costs is None else edges[:, costs.argsort(stable=True)]
    branches: list[list[int]] = [[] for _ in range(nodes)]
    for a, b in ordered.t().tolist():
        root_a, root_b = _root(parent, a), _root(parent, b)
        if root_a != root_b:
            parent[root_a] = root_b
            branches[a].append(b)
            branches[b].append(a)
    return branches


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _neighbours(size: Sequence[int]) -> Tensor:
    """All pairs of positions that are neighbours along an axis, (2, E)."""
    places = torch.arange(math.prod(size), device="cpu").reshape(*size)
    pairs = [
        torch.stack((places.narrow(a, 0, n - 1).flatten(), places.narrow(a, 1, n - 1).flatten()))
        for a, n in enumerate(size)
    ]
    return torch.cat(pairs, 1)
