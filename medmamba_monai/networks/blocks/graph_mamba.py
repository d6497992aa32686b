"""The parts of GAT-Mamba: attention along edges, and a block of it beside Mamba over all nodes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.graph import softmax_at_targets
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import without_autocast


class GraphAttention(nn.Module):
    """Each node becomes a mean of its neighbours and itself, weighed by attention.

    GAT (arXiv 1710.10903), equations 1 to 4, with one head.

    Args:
        channels: channels of a node.

    Shape:
        x (N, channels), edges (2, E) from sources to targets; returns the shape of x.

    Example:
        >>> GraphAttention(4)(torch.zeros(3, 4), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 4])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin = nn.Linear(channels, channels, bias=False)
        self.att_src, self.att_dst = (nn.Parameter(torch.empty(1, 1, channels)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(channels))
        for weight in (self.lin.weight, self.att_src, self.att_dst):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        places = torch.arange(x.shape[0], device=x.device)
        others = edges[:, edges[0] != edges[1]]
        source, target = torch.cat((others, torch.stack((places, places))), 1)
        y = self.lin(x)
        scores = (y * self.att_src[0]).sum(1)[source] + (y * self.att_dst[0]).sum(1)[target]
        weights = softmax_at_targets(F.leaky_relu(scores, 0.2).unsqueeze(1), target, len(x))
        return torch.zeros_like(y).index_add(0, target, weights * y[source]) + self.bias


class GATMambaBlock(nn.Module):
    """Graph attention plus Mamba over the nodes of each graph in order, then an MLP beside the identity.

    GAT-Mamba (arXiv 2406.04377), figure 2.

    Args:
        channels: channels of a node.
        dropout: chance to drop a number while training.
        mamba: d_state, d_conv and expand.

    Shape:
        x (N, channels), edges (2, E), and the graph of each node (N), ascending; returns the shape of x.

    Example:
        >>> x, edges = torch.zeros(3, 4), torch.tensor([[0, 1], [1, 2]])
        >>> GATMambaBlock(4).eval()(x, edges, torch.tensor([0, 0, 1])).shape
        torch.Size([3, 4])

    Notes:
        It computes in float32 whatever autocast asks.
    """

    def __init__(self, channels: int, dropout: float = 0.1, mamba: tuple[int, int, float] = (16, 4, 1)) -> None:
        super().__init__()
        self.conv, self.mamba = GraphAttention(channels), Mamba(channels, *mamba)
        drop, act = nn.Dropout(dropout), nn.ReLU()
        wide, narrow = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        self.mlp = nn.Sequential(wide, act, drop, narrow, nn.Dropout(dropout))
        self.norm1, self.norm2, self.norm3 = (nn.BatchNorm1d(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edges: Tensor, graphs: Tensor) -> Tensor:
        with without_autocast(x):
            x = x.float() if x.element_size() < 4 else x
            near = self.norm1(self.dropout(self.conv(x, edges)))
            far = self.norm2(self.dropout(self._scan(x, graphs)))
            y = near + far
            result: Tensor = self.norm3(y + self.mlp(y))
        return result

    def _scan(self, x: Tensor, graphs: Tensor) -> Tensor:
        counts = torch.bincount(graphs)
        # the place of each node inside its graph
        place = torch.arange(len(x), device=x.device) - (counts.cumsum(0) - counts)[graphs]
        padded = x.new_zeros(len(counts), int(counts.max()), x.shape[1])
        mixed: Tensor = self.mamba(padded.index_put((graphs, place), x))
        return mixed[graphs, place]
