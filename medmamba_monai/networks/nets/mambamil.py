"""Networks for bags of tile features, as whole slides give them: MambaMIL, S4MIL and MamMIL."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive
from medmamba_monai.networks.blocks.bags import AttentionPool, FeatureProjection, check_bag
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.graph import SoftmaxConv
from medmamba_monai.networks.layers.directed_mamba2 import DirectedMamba2
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.layers.reordered import ReorderedMamba
from medmamba_monai.networks.layers.s4d import S4D
from medmamba_monai.networks.layers.vim import VimMamba
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant

_MAMBAMIL = "https://github.com/isyangshu/MambaMIL @ 9aea39e"


class MambaMIL(PublishedNetwork):
    """Classify bags of features, or give the logits of survival hazards, one an interval of time.

    MambaMIL (arXiv 2403.06800), figure 1.

    Args:
        in_channels: channels of an instance.
        num_classes: classes, or intervals of time.
        dim: channels inside.
        depth: Mamba layers.
        mixer: "reordered" for the paper's layer, "two_way" for one that reads forwards and backwards, "plain" for one
            that reads forwards.
        rate: distance of tokens in the reordered sequence.
        attention: width of the network that weighs the instances.
        act: "relu" or "gelu".
        dropout: chance to drop a number behind the first layer while training.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        use_checkpoint: while training, compute the Mamba layers again instead of keeping what is inside them.

    Shape:
        x (B, N, in_channels): B bags of N instances in order; returns (B, num_classes).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> MambaMIL(16, 3, dim=8, depth=1)(torch.zeros(1, 25, 16)).shape
        torch.Size([1, 3])

    Notes:
        For survival see `medmamba_monai.losses.SurvivalLoss`. The authors set all biases of linear layers to zero,
        those of Mamba's step sizes too; here these start as Mamba's authors start them.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "reordered": Variant({"mixer": "reordered"}, 4_227_843),
            "two_way": Variant({"mixer": "two_way"}, 4_227_843),
            "plain": Variant({"mixer": "plain"}, 3_984_131),
        }
    )
    source: ClassVar[Source] = Source(
        "MambaMIL: Enhancing Long Sequence Modeling with Sequence Reordering in Computational Pathology "
        "(arXiv 2403.06800)",
        _MAMBAMIL,
        NO_FILE,
        "outputs and gradients of three small networks, one of each mixer; parameter counts",
    )

    def __init__(
        self,
        in_channels: int = 1024,
        num_classes: int = 2,
        dim: int = 512,
        depth: int = 2,
        mixer: str = "reordered",
        rate: int = 10,
        attention: int = 128,
        act: str = "relu",
        dropout: float = 0.25,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("mixer", mixer, ("reordered", "two_way", "plain"))
        check_positive(in_channels=in_channels, num_classes=num_classes, dim=dim, depth=depth, attention=attention)
        self.in_channels, self.use_checkpoint = in_channels, use_checkpoint
        self.project = FeatureProjection(in_channels, dim, act, dropout)
        mamba = (dim, d_state, d_conv, expand)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.mixers = nn.ModuleList()
        for _ in range(depth):
            if mixer == "plain":
                self.mixers.append(Mamba(*mamba))
            else:
                other = ReorderedMamba(*mamba, rate) if mixer == "reordered" else VimMamba(*mamba, mean=False)
                self.mixers.append(other)
        self.norm, self.pool = nn.LayerNorm(dim), AttentionPool(dim, attention)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        check_bag(x, self.in_channels)
        y = self.project(x)
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            y = saturate(y + run(mixer, norm(y), use_checkpoint=self.use_checkpoint))
        return saturate(in_float32(self.head, self.pool(self.norm(y))))


class S4MIL(PublishedNetwork):
    """Classify bags of features by one S4D layer and the maximum over the bag.

    "Structured State Space Models for Multiple Instance Learning in Digital Pathology" (arXiv 2306.15789), figure 1.

    Args:
        in_channels: channels of an instance.
        num_classes: classes, or intervals of time.
        dim: channels inside.
        act: "relu" or "gelu".
        dropout: chance to drop a number behind the first layer while training.
        d_state: numbers in the state of each channel, even.

    Shape:
        x (B, N, in_channels): B bags of N instances in order; returns (B, num_classes).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> S4MIL(16, 3, dim=8)(torch.zeros(1, 25, 16)).shape
        torch.Size([1, 3])
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"released": Variant({}, 1_085_954)})
    source: ClassVar[Source] = Source(
        "Structured State Space Models for Multiple Instance Learning in Digital Pathology (arXiv 2306.15789)",
        f"{_MAMBAMIL} (models/S4MIL.py)",
        NO_FILE,
        "output and gradients of a small network; parameter count",
    )

    def __init__(
        self,
        in_channels: int = 1024,
        num_classes: int = 2,
        dim: int = 512,
        act: str = "relu",
        dropout: float = 0.25,
        d_state: int = 32,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, num_classes=num_classes, dim=dim)
        self.in_channels = in_channels
        self.project = FeatureProjection(in_channels, dim, act, dropout)
        self.norm, self.mixer = nn.LayerNorm(dim), S4D(dim, d_state)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        check_bag(x, self.in_channels)
        y: Tensor = self.mixer(self.norm(self.project(x)))
        return saturate(in_float32(self.head, saturate(y.amax(1))))


class MamMIL(PublishedNetwork):
    """Classify bags of features that are nodes of a graph, reading them along walks through its spanning tree.

    MamMIL (arXiv 2403.05160), figure 1.

    Args:
        in_channels: channels of an instance.
        num_classes: classes, or intervals of time.
        dim: channels inside.
        depth: Mamba layers; between them neighbours in the graph are mixed.
        num_orders: orders that `forward` is given: the authors use the tree's depth-first walk, before and after the
            children, and its breadth-first walk. The order of the bag itself is always read too.
        design: "paper" runs all layers; "released" leaves out the last, which the authors' code holds but never runs.
        attention: width of the network that weighs the instances.
        act: "relu" or "gelu".
        dropout: chance to drop a number behind the first layer while training.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        headdim: channels of a head, or "auto" for the largest divisor of the inner width up to 64.
        use_checkpoint: while training, compute the Mamba layers again instead of keeping what is inside them.

    Shape:
        x (B, N, in_channels), edges (B, 2, E) from sources to targets, orders (B, num_orders, N); returns
        (B, num_classes). `medmamba_monai.networks.blocks.tile_graph.tile_graph` makes both from places of tiles.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> edges, orders = torch.tensor([[[0, 1], [1, 2]]]), torch.tensor([[[0, 1, 2]] * 3])
        >>> MamMIL(16, 2, dim=8, d_state=4)(torch.zeros(1, 3, 16), edges, orders).shape
        torch.Size([1, 2])

    Notes:
        A batch needs bags with as many instances and edges each; give bags of other sizes one by one.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"camelyon16": Variant({}, 5_175_812)})
    source: ClassVar[Source] = Source(
        "MamMIL: Multiple Instance Learning for Whole Slide Images with State Space Models (arXiv 2403.05160)",
        "https://github.com/Vison307/MamMIL @ 64736e1",
        NO_FILE,
        "output and gradients of a small network (released design) and of its two Mamba-2 layers; parameter count",
    )

    def __init__(
        self,
        in_channels: int = 1024,
        num_classes: int = 2,
        dim: int = 512,
        depth: int = 2,
        num_orders: int = 3,
        design: str = "paper",
        attention: int = 128,
        act: str = "relu",
        dropout: float = 0.0,
        d_state: int = 128,
        d_conv: int = 4,
        expand: float = 2,
        headdim: int | str = "auto",
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("design", design, ("paper", "released"))
        check_positive(in_channels=in_channels, num_classes=num_classes, dim=dim, depth=depth, attention=attention)
        self.in_channels, self.use_checkpoint = in_channels, use_checkpoint
        self.project = FeatureProjection(in_channels, dim, act, dropout)
        layers = depth - 1 if design == "released" else depth
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        mamba = (d_state, d_conv, expand, headdim)
        self.mixers = nn.ModuleList(DirectedMamba2(dim, num_orders + 1, *mamba) for _ in range(layers))
        self.convs = nn.ModuleList(SoftmaxConv(dim) for _ in range(depth - 1))
        self.norm, self.pool = nn.LayerNorm(dim), AttentionPool(dim, attention)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor, edges: Tensor, orders: Tensor) -> Tensor:
        check_bag(x, self.in_channels)
        bags, count = x.shape[:2]
        if orders.dim() != 3 or orders.shape[2] != count or edges.dim() != 3 or not len(orders) == len(edges) == bags:
            raise ValueError(
                f"edges has shape {tuple(edges.shape)} and orders has shape {tuple(orders.shape)}: for {bags} bags of "
                f"{count} instances give ({bags}, 2, edges) and ({bags}, orders, {count})"
            )
        places = torch.arange(count, device=x.device).expand(bags, 1, -1)
        orders = torch.cat((places, orders), 1)
        # the graphs of a batch side by side are one graph
        first = torch.arange(bags, device=x.device)[:, None, None] * count
        joined = (edges + first).transpose(0, 1).flatten(1)
        y = self.project(x)
        for i, (norm, mixer) in enumerate(zip(self.norms, self.mixers, strict=True)):
            mixed = run(mixer, norm(y), orders, use_checkpoint=self.use_checkpoint)
            if i < len(self.convs):
                mixed = self.convs[i](mixed.flatten(0, 1), joined).reshape(mixed.shape)
            y = saturate(y + saturate(mixed))
        return saturate(in_float32(self.head, self.pool(self.norm(y))))
