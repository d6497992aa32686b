"""MambaDFuse: two images of the same place become one, by stacks of Mamba layers at full resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.modal_fusion import ModalFusion, to_grid
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class MambaDFuse(PublishedNetwork):
    """Fuse two images, for example MR and PET, into one.

    MambaDFuse (arXiv 2404.08406), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of each image and of the result.
        dim: channels of a token, divisible by 4.
        depth: layers of each image's features.
        swaps: layers of the shallow fusion, in front of which the images exchange every second channel.
        fusions: blocks of the deep fusion.
        reconstruction_depth: layers behind the fusion.
        design: "paper" for norms applied once and a symmetric shallow fusion; "released" for the authors' code, which
            norms twice in the deep fusion and fuses the second image with the first one's result.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        use_checkpoint: while training, compute the layers again instead of keeping what is inside them.

    Shape:
        two images (B, in_channels, *S) of any size; returns (B, in_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when an input is not of floating point.

    Example:
        >>> net = MambaDFuse(2, 1, dim=8, depth=1, swaps=1, fusions=1, reconstruction_depth=1)
        >>> net(torch.zeros(1, 1, 17, 20), torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 1, 17, 20])

    Notes:
        Each stack of layers keeps a running sum beside what it gives, and as in the authors' code the sum is dropped
        where the stacks of fusion and reconstruction end. A norm of the authors' code that nothing uses is not here.
        The tokens are pixels: time and memory grow with their number.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"defaults": Variant({}, 3_170_593)})
    source: ClassVar[Source] = Source(
        "MambaDFuse: A Mamba-based Dual-phase Model for Multi-modality Image Fusion (arXiv 2404.08406)",
        "https://github.com/Lizhe1228/MambaDFuse @ 596745b",
        "none found in the repository; this package copies nothing",
        "the order of operations of the authors' code, written plainly and compared on random weights (released "
        "design); no parameter count is printed",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        dim: int = 96,
        depth: int = 8,
        swaps: int = 2,
        fusions: int = 5,
        reconstruction_depth: int = 8,
        design: str = "paper",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("design", design, ("paper", "released"))
        check_positive(in_channels=in_channels, dim=dim, depth=depth, swaps=swaps, fusions=fusions)
        check_positive(reconstruction_depth=reconstruction_depth)
        if dim % 4:
            raise ValueError(f"dim is {dim}: give a multiple of 4, which the last convolutions divide by")
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.released, conv = design == "released", Conv[Conv.CONV, spatial_dims]

        def stack(count: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(nn.LayerNorm(dim), Mamba(dim, d_state, d_conv, expand)) for _ in range(count)
            )

        self.stem = nn.ModuleList([conv(in_channels, dim // 2, 3, padding=1), conv(dim // 2, dim, 3, padding=1)])
        self.norm = nn.LayerNorm(dim)
        self.encoder = nn.ModuleList(stack(depth) for _ in range(2))
        self.swaps = nn.ModuleList(stack(swaps) for _ in range(2))
        self.joins = nn.ModuleList(conv(2 * dim, dim, 3, padding=1) for _ in range(2))
        self.fusions = nn.ModuleList(
            ModalFusion(spatial_dims, dim, d_state, d_conv, expand, 2 if self.released else 1) for _ in range(fusions)
        )
        self.reconstruction = stack(reconstruction_depth)
        widths = (dim, dim // 2, dim // 4, in_channels)
        self.head = nn.ModuleList(conv(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        for image in (first, second):
            check_input(image, self.spatial_dims, self.in_channels)
        if first.shape != second.shape:
            raise ValueError(f"the images have shapes {tuple(first.shape)} and {tuple(second.shape)}: make them alike")
        a, b = self._shallow(self._features(first, 0), self._features(second, 1), first.shape[2:])
        y = self._deep(a, b)
        z, _ = self._stack(self.reconstruction, self._tokens(y), None)
        y = to_grid(z, first.shape[2:])
        for conv in self.head[:-1]:
            y = F.leaky_relu(saturate(in_float32(conv, y)), 0.2)
        return saturate(in_float32(self.head[-1], y))

    def _features(self, image: Tensor, which: int) -> tuple[Tensor, Tensor]:
        """Tokens of an image, and the sum of all that its layers gave."""
        y = saturate(image)
        for conv in self.stem:
            y = F.leaky_relu(saturate(in_float32(conv, y)), 0.2)
        return self._stack(self.encoder[which], self._tokens(y), None)

    def _shallow(
        self, one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], size: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """The maps of both images after the exchange of channels and the convolutions that join them."""
        (a, sum_a), (b, sum_b) = one, two
        even = torch.arange(a.shape[-1], device=a.device) % 2 == 0
        for (norm_a, mix_a), (norm_b, mix_b) in zip(*self.swaps, strict=True):
            sum_a, sum_b = saturate(sum_a + a), saturate(sum_b + b)
            c, d = norm_a(sum_a), norm_b(sum_b)
            a = self._run(mix_a, torch.where(even, d, c))
            b = self._run(mix_b, torch.where(even, c, d))
        a, b = to_grid(a, size), to_grid(b, size)
        joined = saturate(in_float32(self.joins[0], torch.cat((a, b), 1)) + a)
        other = joined if self.released else a
        return joined, saturate(in_float32(self.joins[1], torch.cat((b, other), 1)) + b)

    def _deep(self, a: Tensor, b: Tensor) -> Tensor:
        """The fused map: it begins as the mean, and each block adds the scans of both images."""
        size = a.shape[2:]
        first, second, y = self._tokens(a), self._tokens(b), self._tokens((a + b) / 2)
        total = torch.zeros_like(y)
        for block in self.fusions:
            total = saturate(total + y)
            y = run(block, total, second, first, size, use_checkpoint=self.use_checkpoint)
        return to_grid(y, size)

    def _tokens(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.flatten(2).transpose(1, 2))
        return normed

    def _stack(self, layers: nn.Module, x: Tensor, total: Tensor | None) -> tuple[Tensor, Tensor]:
        """Each layer mixes the sum of the tokens and all that the layers before gave."""
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            total = x if total is None else saturate(total + x)
            x = self._run(layer, total)
        assert total is not None
        return x, total

    def _run(self, layer: nn.Module, x: Tensor) -> Tensor:
        return saturate(run(layer, x, use_checkpoint=self.use_checkpoint))
