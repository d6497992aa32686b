"""Layers on graphs in plain torch: nodes (N, channels) and edges (2, E), each from a source to a target."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import without_autocast


def softmax_at_targets(scores: Tensor, targets: Tensor, nodes: int) -> Tensor:
    """Softmax of the scores of edges over all edges that share a target.

    Shape:
        scores (E, C), targets (E); returns (E, C).

    Example:
        >>> softmax_at_targets(torch.zeros(3, 1), torch.tensor([0, 0, 1]), 2).flatten().tolist()
        [0.5, 0.5, 1.0]
    """
    index = targets.unsqueeze(1).expand_as(scores)
    most = scores.detach().new_full((nodes, scores.shape[1]), -torch.inf)
    most = most.scatter_reduce(0, index, scores.detach(), "amax")
    weights = torch.exp(scores - most[targets])
    sums = weights.new_zeros(nodes, scores.shape[1]).index_add(0, targets, weights)
    return weights / sums[targets]


class SoftmaxConv(nn.Module):
    """Each node adds a soft maximum of its neighbours to itself and goes through a small network; with a residual.

    GENConv (arXiv 2006.07739), equations 3 and 7, in the residual form x + relu(norm(conv(x))).

    Args:
        channels: channels of a node.
        dropout: chance to drop a number of the result while training.

    Shape:
        x (N, channels), edges (2, E); returns the shape of x.

    Example:
        >>> SoftmaxConv(4)(torch.zeros(3, 4), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 4])
    """

    def __init__(self, channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.ones(1))
        self.fc1 = nn.Linear(channels, 2 * channels, bias=False)
        self.norm1 = nn.LayerNorm(2 * channels)
        self.fc2 = nn.Linear(2 * channels, channels, bias=False)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        with without_autocast(x):
            x = x.float() if x.element_size() < 4 else x
            messages = F.relu(x[edges[0]]) + 1e-7
            weights = softmax_at_targets(messages * self.t, edges[1], x.shape[0])
            y = x.index_add(0, edges[1], weights * messages)
            y = self.fc2(F.relu(self.norm1(self.fc1(y))))
            result: Tensor = self.dropout(x + F.relu(self.norm2(y)))
        return result
