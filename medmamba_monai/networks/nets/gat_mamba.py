"""GAT-Mamba: attention along the edges of a graph beside Mamba over all its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.graph import softmax_at_targets
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import in_float32, saturate, without_autocast
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


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


class GATMamba(PublishedNetwork):
    """One row of logits a graph of tiles, for survival the logarithm of the hazard.

    GAT-Mamba (arXiv 2406.04377), figure 1. In plain torch: no package for graphs is needed.

    Args:
        in_channels: features of a tile.
        num_classes: logits.
        hidden: channels that the features become.
        position_channels: channels of the tile's place, divisible by 4.
        depth: blocks.
        dropout: chance to drop a number inside the blocks while training.
        head_dropout: chance to drop a number in front of the last layer while training.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.

    Shape:
        x (N, in_channels), all tiles of all graphs; places (N, 2); edges (2, E) from sources to targets; graphs (N),
        the number of each tile's graph from 0 up, ascending. Returns (graphs, num_classes).

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when the features are not of floating point.

    Example:
        >>> net = GATMamba(6, 1, hidden=8, position_channels=4, depth=1).eval()
        >>> edges, graphs = torch.tensor([[0, 1], [1, 0]]), torch.tensor([0, 0, 1])
        >>> net(torch.rand(3, 6), torch.rand(3, 2), edges, graphs).shape
        torch.Size([2, 1])

    Notes:
        Features of edges are read by the authors' code but never used; they are not here.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"one_block": Variant({}, 127_041), "three_blocks": Variant({"depth": 3}, 241_761)}
    )
    source: ClassVar[Source] = Source(
        "Combining Graph Neural Network and Mamba to Capture Local and Global Tissue Spatial Relationships in Whole "
        "Slide Images (arXiv 2406.04377)",
        "https://github.com/rina-ding/gat-mamba @ 215acf5",
        "not recorded here; this package copies nothing",
        "both outputs and gradients of a small network; parameter counts but for the dead weights",
    )

    def __init__(
        self,
        in_channels: int = 1024,
        num_classes: int = 1,
        hidden: int = 64,
        position_channels: int = 16,
        depth: int = 1,
        dropout: float = 0.1,
        head_dropout: float = 0.3,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 1,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, num_classes=num_classes, hidden=hidden, depth=depth)
        if position_channels < 4 or position_channels % 4:
            raise ValueError(f"position_channels is {position_channels}: give a multiple of 4")
        self.in_channels, self.position_channels = in_channels, position_channels
        self.project = nn.Linear(in_channels, hidden)
        width = hidden + position_channels
        mamba = (d_state, d_conv, expand)
        self.blocks = nn.ModuleList(GATMambaBlock(width, dropout, mamba) for _ in range(depth))
        self.head = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, width // 4),
            nn.ReLU(),
            nn.Dropout(head_dropout),
            nn.Linear(width // 4, num_classes),
        )

    def forward(self, x: Tensor, places: Tensor, edges: Tensor, graphs: Tensor) -> Tensor:
        return saturate(in_float32(self.head, self.embed(x, places, edges, graphs)))

    def embed(self, x: Tensor, places: Tensor, edges: Tensor, graphs: Tensor) -> Tensor:
        """The mean of the nodes of each graph after all blocks: (graphs, channels)."""
        self._check(x, places, edges, graphs)
        with without_autocast(x):
            wide = x.float() if x.element_size() < 4 else x
            y = torch.cat((self.project(wide), self._positions(places.to(wide.dtype))), 1)
            for block in self.blocks:
                y = F.relu(block(y, edges, graphs))
            counts = torch.bincount(graphs)
            sums = y.new_zeros(len(counts), y.shape[1]).index_add(0, graphs, y)
            return sums / counts.unsqueeze(1)

    def _positions(self, places: Tensor) -> Tensor:
        """Sines and cosines of both coordinates."""
        width = self.position_channels // 2
        steps = torch.arange(0, width, 2, device=places.device, dtype=places.dtype)
        rates = 10000 ** (-steps / width)
        angles = places.unsqueeze(-1) * rates
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)

    def _check(self, x: Tensor, places: Tensor, edges: Tensor, graphs: Tensor) -> None:
        if x.dim() != 2:
            raise ValueError(f"the input has shape {tuple(x.shape)}: give (batch, channels), all nodes of all graphs")
        if not x.is_floating_point():
            raise TypeError(f"the input has dtype {x.dtype}: convert it to floating point, for example by .float()")
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"the input has {x.shape[1]} channels and the network takes {self.in_channels}: set "
                f"in_channels={x.shape[1]}"
            )
        if len(x) == 0:
            raise ValueError(f"the input has shape {tuple(x.shape)}: give at least one node")
        count = len(x)
        if tuple(places.shape) != (count, 2) or tuple(graphs.shape) != (count,) or edges.shape[0] != 2:
            raise ValueError(
                f"places, edges and graphs have shapes {tuple(places.shape)}, {tuple(edges.shape)} and "
                f"{tuple(graphs.shape)}: for {count} nodes give ({count}, 2), (2, edges) and ({count},)"
            )
