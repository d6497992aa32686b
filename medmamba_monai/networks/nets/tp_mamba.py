"""TP-Mamba: a frozen transformer of images that Mamba across the planes adapts to volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from monai.networks.blocks import TransformerBlock
from monai.networks.nets import ViT
from torch import Tensor, nn

from medmamba_monai.networks.blocks.adapters import LowRankQKV, PlaneAdapter
from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.patches import crop, pad_to_multiple
from medmamba_monai.networks.blocks.positions import resize_positions
from medmamba_monai.networks.blocks.u_mamba import InstanceNorm
from medmamba_monai.networks.layers.precision import Saturate, in_float32, saturate, without_autocast
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant


class TPMamba(PublishedNetwork):
    """Segment volumes with a vision transformer of images, slice by slice, and adapters that join the slices.

    TP-Mamba (arXiv 2409.08492), figure 1. The transformer is MONAI's ViT, which needs einops
    (the extra ``vit`` of this package).

    Args:
        spatial_dims: 3: slices, height and width.
        in_channels: channels of the volume.
        out_channels: classes, background included; 1 gives logits of one class.
        img_size: side of the slices, after they are magnified, for which the positions are learned; others work too.
        patch_size: side of a patch of a magnified slice; over ``magnify`` it must be 2, 4, 8 and so on.
        hidden_size: channels of a token.
        mlp_dim: hidden width of the transformer's MLPs.
        num_layers: layers of the transformer.
        num_heads: attention heads.
        planes: what the adapters behind the layers read, in turn: "slices", "rows" or "volume", see `PlaneAdapter`.
        rank: width of the low-rank additions to queries and values.
        features: channels of the decoder.
        magnify: how much larger slices are made in front of the transformer.
        d_state: numbers in the state of each Mamba channel.
        d_conv: taps of Mamba's convolutions.
        expand: inner width of Mamba over its channels.
        use_checkpoint: while training, compute the layers again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, slices, H, W) of any size; returns (B, out_channels, slices, H, W).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = TPMamba(3, 1, 2, 32, 8, 16, 32, num_layers=2, num_heads=2, rank=2, features=4)
        >>> net(torch.zeros(1, 1, 3, 15, 20)).shape
        torch.Size([1, 2, 3, 15, 20])

    Notes:
        Weights of a ViT go into ``encoder`` by ``load_state_dict(..., strict=False)``; they are frozen, and only the
        additions, the adapters and the decoder are trained: 16,585,602 of the numbers of "vit_base".
        ``net.encoder.requires_grad_()`` trains everything. The authors' encoder is SAM's, with attention in windows
        and relative positions, which MONAI's ViT does not have: weights of SAM do not fit. Their code reads one plane
        in all adapters, as ``planes=["volume"]`` does, and repeats a grey volume for three channels, which is one
        channel with the sum of the patches' kernels.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"vit_base": Variant({}, 102_623_874)})
    source: ClassVar[Source] = Source(
        "Tri-Plane Mamba: Efficiently Adapting Segment Anything Model for 3D Medical Images (arXiv 2409.08492)",
        "https://github.com/xmed-lab/TP-Mamba @ 457597d",
        NO_FILE,
        "adapters, additions and the whole network by their equations; the authors' code was read, not run",
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        img_size: int = 512,
        patch_size: int = 16,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_layers: int = 12,
        num_heads: int = 12,
        planes: Sequence[str] = ("slices", "rows", "volume"),
        rank: int = 64,
        features: int = 64,
        magnify: int = 2,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (3,))
        check_positive(in_channels=in_channels, out_channels=out_channels, img_size=img_size, patch_size=patch_size)
        check_positive(num_layers=num_layers, features=features, magnify=magnify)
        stride, rest = divmod(patch_size, magnify)
        if rest or stride < 2 or stride & (stride - 1):
            raise ValueError(f"patch_size is {patch_size}: over magnify={magnify} it must be 2, 4, 8 and so on")
        if not planes:
            raise ValueError("planes is empty: give at least one of 'slices', 'rows', 'volume'")
        self.spatial_dims, self.in_channels, self.magnify = spatial_dims, in_channels, magnify
        self.patch_size, self.grid, self.use_checkpoint = patch_size, (img_size // patch_size,) * 2, use_checkpoint
        self.encoder = ViT(
            in_channels,
            img_size,
            patch_size,
            hidden_size,
            mlp_dim,
            num_layers,
            num_heads,
            spatial_dims=2,
            qkv_bias=True,
        )
        # its last norm is behind what the decoder takes, and its norms and layers for a context have none to look at
        self.encoder.register_module("norm", nn.Identity())
        self.encoder.requires_grad_(False)
        for block in self.encoder.blocks:
            assert isinstance(block, TransformerBlock) and isinstance(block.attn.qkv, nn.Linear)
            block.register_module("norm_cross_attn", nn.Identity())
            block.register_module("cross_attn", nn.Identity())
            block.attn.qkv = LowRankQKV(block.attn.qkv, rank)
        mamba = (d_state, d_conv, expand)
        self.adapters = nn.ModuleList(
            PlaneAdapter(hidden_size, planes[i % len(planes)], 4, *mamba) for i in range(num_layers)
        )
        taps, doublings = min(4, num_layers), stride.bit_length() - 1
        self.ups = nn.ModuleList(_Double(hidden_size, features) for _ in range(taps))
        width = 2 * features if doublings > 1 else features
        self.fuse = _Residual(taps * features, width)
        self.last_ups = nn.Sequential(*(_Double(features if i else width, features) for i in range(doublings - 1)))
        self.head = nn.Conv3d(features, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        maps = [up(y) for up, y in zip(self.ups, self.encode(x)[-len(self.ups) :], strict=True)]
        y = self.last_ups(self.fuse(torch.cat(maps, 1)))
        return crop(saturate(in_float32(self.head, y)), x.shape[2:], first_axis=2)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The map behind each layer and its adapter, (B, hidden_size, slices, H / stride, W / stride)."""
        slices = saturate(x).transpose(1, 2).flatten(0, 1)
        if self.magnify > 1:
            slices = F.interpolate(slices, scale_factor=float(self.magnify), mode="bilinear", align_corners=False)
        slices = pad_to_multiple(slices, self.patch_size, first_axis=2)
        patches = saturate(in_float32(self.encoder.patch_embedding.patch_embeddings, slices))
        size, (batch, count) = patches.shape[2:], (x.shape[0], x.shape[2])
        with without_autocast(x):
            positions = resize_positions(self.encoder.patch_embedding.position_embeddings, self.grid, size)
            tokens = patches.flatten(2).transpose(1, 2) + positions
        maps = []
        for block, adapter in zip(self.encoder.blocks, self.adapters, strict=True):
            tokens = saturate(run(block, tokens, use_checkpoint=self.use_checkpoint))
            volume = tokens.reshape(batch, count, *size, -1)
            volume = run(adapter, volume, use_checkpoint=self.use_checkpoint)
            maps.append(volume.movedim(-1, 1))
            tokens = volume.flatten(0, 1).flatten(1, 2)
        return maps


class _Residual(nn.Module):
    """GELU(norm(conv(GELU(norm(conv(x))))) + norm(conv 1x1x1(x))) where the channels change."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(in_channels, out_channels, 3), _conv(out_channels, out_channels, 3)
        self.shortcut = _conv(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.second(F.gelu(self.first(x))) + self.shortcut(x))


class _Double(nn.Module):
    """Twice the size of each slice by a transposed convolution, then x + GELU(norm(conv(x)))."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_channels, channels, 3, (1, 2, 2), 1, (0, 1, 1))
        self.norm = InstanceNorm(channels, affine=False)
        self.conv = _conv(channels, channels, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.norm(saturate(self.up(x))))
        return y + F.gelu(self.conv(y))


def _conv(in_channels: int, channels: int, kernel: int, bias: bool = False) -> nn.Sequential:
    conv = nn.Conv3d(in_channels, channels, kernel, padding=kernel // 2, bias=bias)
    return nn.Sequential(conv, Saturate(), InstanceNorm(channels, affine=False))
