"""GFE-Mamba: a generator that makes PET of MR, and a Mamba that reads its features beside a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from monai.networks.blocks.activation import GEGLU
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.generative import (
    Attention,
    NormedResidual,
    PlaneTransformer,
    ResidualMamba,
)
from medmamba_monai.networks.layers.precision import in_float32, is_tracing, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant

_SOURCE = Source(
    "GFE-Mamba: Mamba-based AD Multi-modal Progression Assessment via Generative Feature Extraction from MCI "
    "(arXiv 2407.15719)",
    "https://github.com/Tinysqua/GFE-Mamba @ 876bc35",
    "MIT",
    "the order of operations of the authors' code, written plainly and compared on random weights; the code was read, "
    "not run, and the file with its U-Net's blocks could not be read; no printed parameter count was looked up",
)


class GFEGenerator(PublishedNetwork):
    """Make one modality of another, as PET of MR: a U-Net with a vision transformer in the middle.

    GFE-Mamba (arXiv 2407.15719), the generator (3D GAN-ViT) of an adversarial pair.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the result.
        img_size: size that the network is made for; images of other sizes are resized to it, and the result back.
        features: channels of the levels; all but the first have half the resolution of the one before.
        fold: parts of the volume's first axis that lie side by side on the transformer's plane; 1 for images.
        patch_size: side of a patch of that plane.
        dim: channels of the transformer's tokens.
        depth: layers of the transformer.
        heads: heads of its attention.
        head_channels: channels of a head.
        mlp_dim: channels inside its MLPs.
        dropout: chance to drop a number inside the transformer while training.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = GFEGenerator(2, img_size=8, features=[4, 8], fold=1, patch_size=2, dim=8, depth=1, mlp_dim=8)
        >>> net(torch.zeros(1, 1, 9, 7)).shape
        torch.Size([1, 1, 9, 7])

    Notes:
        There is no Mamba in it; `GFEMamba` reads its features. The transformer replaces the lowest map, nothing leads
        around it. The authors' code imports the U-Net's blocks from a copy of pytorch-3dunet whose source is not in
        what could be read; the blocks here are those of that project with the same arguments. The authors' network
        takes its own size only, and holds a linear map that it never uses and that is not here. The
        discriminator and losses are those of any such pair, for example MONAI's `PatchDiscriminator`,
        `PatchAdversarialLoss` and `PerceptualLoss`.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"adni": Variant({}, 439_951_537)})
    source: ClassVar[Source] = _SOURCE

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 1,
        img_size: int | Sequence[int] = (160, 160, 96),
        features: Sequence[int] = (64, 128, 256),
        fold: int = 8,
        patch_size: int = 40,
        dim: int = 512,
        depth: int = 4,
        heads: int = 6,
        head_channels: int = 64,
        mlp_dim: int = 2048,
        dropout: float = 0.1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels, fold=fold, patch_size=patch_size)
        check_positive(dim=dim, depth=depth, heads=heads, head_channels=head_channels, mlp_dim=mlp_dim)
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.img_size, widths = (
            per_stage("img_size", img_size, spatial_dims),
            per_stage("features", features, len(features)),
        )
        stride = 2 ** (len(widths) - 1)
        if any(n % stride for n in self.img_size):
            raise ValueError(f"img_size is {self.img_size}: give multiples of {stride}")
        conv, up = Conv[Conv.CONV, spatial_dims], Conv[Conv.CONVTRANS, spatial_dims]
        self.encoder = nn.ModuleList(
            NormedResidual(spatial_dims, a, b) for a, b in zip((in_channels, *widths[:-1]), widths, strict=True)
        )
        grid = [n // stride for n in self.img_size]
        sizes = (fold, patch_size, dim, depth, heads, head_channels, mlp_dim)
        self.transformer = PlaneTransformer(widths[-1], grid, *sizes, dropout=dropout)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(up(a, b, 3, stride=2, padding=1, bias=False) for a, b in pairs)
        self.decoder = nn.ModuleList(NormedResidual(spatial_dims, b, b) for _, b in pairs)
        self.head = conv(widths[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        return _resized(self.features(_resized(x, self.img_size))[2], x.shape[2:])

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For an image of ``img_size``: the lowest map as a plane before and behind the transformer, and the result."""
        pool = F.max_pool2d if self.spatial_dims == 2 else F.max_pool3d
        y, skips = saturate(x), list[Tensor]()
        for i, block in enumerate(self.encoder):
            y = run(block, pool(y, 2) if i else y, use_checkpoint=self.use_checkpoint)
            skips.append(y)
        before = self.transformer.lay_out(skips.pop())
        after = run(self.transformer, before, use_checkpoint=self.use_checkpoint)
        y = self.transformer.put_back(after)
        for up, block in zip(self.ups, self.decoder, strict=True):
            skip = skips.pop()
            y = F.interpolate(saturate(in_float32(up, y)), size=skip.shape[2:], mode="nearest")
            y = run(block, saturate(skip + y), use_checkpoint=self.use_checkpoint)
        return before, after, saturate(in_float32(self.head, y))


class GFEMamba(PublishedNetwork):
    """Classify an image together with a table, as whether cognitive impairment will become Alzheimer's disease.

    GFE-Mamba (arXiv 2407.15719): Mamba over the tokens of a table and of a generator's features, and attention to the
    pixels of the image and of what the generator makes of it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 1 gives the logits of one.
        categories: how many values each categorical column of the table can take.
        numbers: numerical columns of the table.
        img_size: size that the network is made for; images of other sizes are resized to it.
        features: channels of the generator's levels; tokens have twice those of the last one.
        generated_channels: channels that the generator makes.
        feature_tokens: tokens made of the generator's features.
        depth: Mamba layers.
        heads: heads of the attention to the pixels.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolutions.
        expand: inner width of Mamba over its channels.
        dropout: chance to drop a number inside the last MLP while training.
        generator: further arguments of `GFEGenerator`.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size, the categorical columns (B, len(categories)) as whole numbers from 0, and
        the numerical columns (B, numbers); returns (B, num_classes).

    Raises:
        ValueError: when an argument is out of range or an input does not fit.
        TypeError: when the image is not of floating point.

    Example:
        >>> small = {"fold": 1, "patch_size": 2, "dim": 8, "depth": 1, "mlp_dim": 8}
        >>> net = GFEMamba(2, 1, 2, [3, 2], 1, img_size=8, features=[4, 8], depth=1, generator=small)
        >>> net(torch.zeros(1, 1, 9, 7), torch.tensor([[2, 0]]), torch.zeros(1, 1)).shape
        torch.Size([1, 2])

    Notes:
        The authors train ``generator`` first, as `GFEGenerator`, and then only the rest: load its weights into
        ``net.generator`` and call ``net.freeze_encoder()``. As in their code the mean of all tokens is classified, not
        the class token, whose name the paper's figure has; keys and values are shared by both images, and each token
        of the context is one slice of one channel along the last axis. Their table of categories has two rows that no
        value leads to, which are not here. Numbers should be standardised.
    """

    first: Tensor
    encoder_parts: ClassVar[tuple[str, ...]] = ("generator",)
    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"adni": Variant({}, 478_596_790)})
    source: ClassVar[Source] = _SOURCE

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_classes: int = 1,
        categories: Sequence[int] = (),
        numbers: int = 1,
        img_size: int | Sequence[int] = (160, 160, 96),
        features: Sequence[int] = (64, 128, 256),
        generated_channels: int = 1,
        feature_tokens: int = 4,
        depth: int = 6,
        heads: int = 8,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        dropout: float = 0.1,
        generator: Mapping[str, Any] | None = None,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, feature_tokens=feature_tokens, depth=depth, heads=heads)
        if numbers < 0 or any(count < 1 for count in categories) or not (numbers or categories):
            raise ValueError(
                f"categories is {list(categories)} and numbers {numbers}: give a table of at least one column, and at "
                "least one value a category"
            )
        self.generator = GFEGenerator(
            spatial_dims,
            in_channels,
            generated_channels,
            img_size,
            features,
            **{"use_checkpoint": use_checkpoint, **(generator or {})},
        )
        dim, size = 2 * features[-1], self.generator.img_size
        if dim % heads:
            raise ValueError(f"heads is {heads}: give a number that divides {dim}, the channels of a token")
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.categories, self.numbers = tuple(categories), numbers
        first = torch.tensor([sum(categories[:i]) for i in range(len(categories))], dtype=torch.long)
        self.register_buffer("first", first, persistent=False)
        self.category_tokens = nn.Embedding(sum(categories), dim) if categories else None
        self.number_weight, self.number_bias = (nn.Parameter(torch.randn(numbers, dim)) for _ in range(2))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.summary = nn.Linear(
            self.generator.transformer.plane[0] * self.generator.transformer.plane[1], feature_tokens
        )
        self.mixers = nn.ModuleList(ResidualMamba(dim, d_state, d_conv, expand) for _ in range(depth))
        self.attention = Attention(dim, torch.Size(size[:-1]).numel(), heads, dim // heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), GEGLU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_classes))

    def forward(self, x: Tensor, categories: Tensor, numbers: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        self._check(x, categories, numbers)
        x = _resized(x, self.generator.img_size)
        before, after, made = self.generator.features(x)
        summary = saturate(in_float32(self.summary, torch.cat((before, after), 1).flatten(2))).transpose(1, 2)
        tokens = torch.cat((*self._table(categories, numbers), summary), 1)
        for mixer in self.mixers:
            tokens = run(mixer, tokens, use_checkpoint=self.use_checkpoint)
        y = tokens.mean(1, keepdim=True)
        # one token for each slice of each channel
        slices = [image.flatten(2, -2).transpose(2, 3).flatten(1, 2) for image in (saturate(x), made)]
        y = saturate(y + saturate(self.attention(y, torch.cat(slices, 1))))
        y = saturate(y + saturate(in_float32(self.feed_forward, y)))
        return saturate(in_float32(self.head, y.squeeze(1)))

    def _table(self, categories: Tensor, numbers: Tensor) -> list[Tensor]:
        """The class token and a token for each column of the table."""
        scaled = numbers.unsqueeze(2) * self.number_weight + self.number_bias
        tokens = [self.cls_token.expand(numbers.shape[0], -1, -1)]
        if self.category_tokens is not None:
            tokens.append(self.category_tokens(categories + self.first))
        return [saturate(t) for t in (*tokens, scaled)]

    def _check(self, x: Tensor, categories: Tensor, numbers: Tensor) -> None:
        for name, table, count in (
            ("categories", categories, len(self.categories)),
            ("numbers", numbers, self.numbers),
        ):
            if table.shape != (x.shape[0], count):
                raise ValueError(
                    f"{name} has shape {tuple(table.shape)}: give {count} columns for each of {len(x)} images"
                )
        if is_tracing() or not self.categories:
            return
        sizes = torch.tensor(self.categories, device=categories.device)
        wrong = ((categories < 0) | (categories >= sizes)).any(0).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f"columns {wrong} of categories hold values outside 0 to {[self.categories[i] - 1 for i in wrong]}"
            )


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """An image or volume at another size, by linear interpolation; at its own size it stays as it is."""
    return F.interpolate(saturate(x), size=tuple(size), mode="bilinear" if x.dim() == 4 else "trilinear")
