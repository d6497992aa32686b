"""GAT-Mamba: attention along the edges of a graph beside Mamba over all its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.graph_mamba import GATMambaBlock
from medmamba_monai.networks.layers.precision import in_float32, saturate, without_autocast
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


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
        NO_FILE,
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
