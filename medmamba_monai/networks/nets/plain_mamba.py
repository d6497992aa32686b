"""PlainMamba: a plain stack of layers that walk over the grid without jumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.plain import PatchTokens
from medmamba_monai.networks.blocks.vss import init_linear
from medmamba_monai.networks.layers.plain_mamba import PlainMambaMixer
from medmamba_monai.networks.layers.precision import Saturate, in_float32, saturate
from medmamba_monai.networks.nets.variant import ENCODER_PARTS, NO_FILE, PublishedNetwork, Source, Variant

_RELEASED: Mapping[str, Any] = MappingProxyType({"selection": "raster", "drop_path_rate": 0.2})


class PlainMamba(PublishedNetwork):
    """Classify 2D images or 3D volumes, or give maps of tokens to another network.

    PlainMamba (arXiv 2403.17695), figure 2 and table 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        img_size: size of the training images, a number or one an axis; other sizes work too.
        patch_size: side of a patch, even.
        dim: channels of a token.
        depth: number of layers.
        stem_channels: channels of the convolutional stem.
        stem_depth: convolutions of 3x3 in the stem.
        convolved: layers (counted from 0) with a depthwise convolution, batch norm and GELU after them.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        selection: "scanned" takes dt, B and C from the token that is read, "raster" as the authors' code does.
        d_state: numbers in the state of each channel.
        d_conv: odd size of the mixers' depthwise convolution.
        expand: inner width of the mixers over the channels.
        drop_path_rate: chance to drop the last layer's branch; it grows linearly from 0 over the layers.
        features_only: return the maps after the layers of ``out_layers``; there is no head then.
        out_layers: layers (counted from 0) whose maps are returned, the last one normed; the last if None.

    Shape:
        x (B, in_channels, *S) of any size: it is padded with zeros to whole patches. Returns (B, num_classes), or with
        ``features_only`` a list of maps (B, dim, *grid).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = PlainMamba(2, 1, 3, img_size=32, patch_size=8, dim=16, depth=2).eval()
        >>> net(torch.zeros(2, 1, 30, 40)).shape
        torch.Size([2, 3])

    Notes:
        The authors' code permutes only the scanned values; dt, B and C stay in the order of rows, so that a step is
        selected by another token than the one it reads. That is the paper's text neither; "raster" gives it, and the
        published sizes take it. The code also adds the bias of the step size twice; `medmamba_monai.weights.convert`
        doubles the bias instead. Maps of inner layers have a norm of their own in the authors' code, for detection;
        here they come as they are.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "l1": Variant({"dim": 192, "depth": 24, "stem_depth": 1, "convolved": [0], **_RELEASED}, 7_551_656),
            "l2": Variant({"dim": 384, "depth": 24, "stem_depth": 2, **_RELEASED}, 26_145_832),
            "l3": Variant({"dim": 448, "depth": 36, "stem_depth": 2, **_RELEASED}, 50_956_456),
        }
    )
    encoder_parts: ClassVar[tuple[str, ...]] = (*ENCODER_PARTS, "convs")
    source: ClassVar[Source] = Source(
        "PlainMamba: Improving Non-Hierarchical Mamba in Visual Recognition (arXiv 2403.17695)",
        "https://github.com/ChenhongyiYang/PlainMamba @ 0a3aae7",
        NO_FILE,
        "a small network against the equations, on the authors' names; sizes, which without the head are the paper's",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        dim: int = 192,
        depth: int = 24,
        stem_channels: int = 64,
        stem_depth: int = 1,
        convolved: Sequence[int] = (),
        order: str = "snake",
        selection: str = "scanned",
        d_state: int = 16,
        d_conv: int = 7,
        expand: float = 2,
        drop_path_rate: float = 0.0,
        features_only: bool = False,
        out_layers: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, dim=dim, depth=depth, stem_channels=stem_channels)
        if num_classes < 0:
            raise ValueError(f"num_classes is {num_classes}: give the number of classes, or 0 for features")
        if patch_size < 2 or patch_size % 2:
            raise ValueError(f"patch_size is {patch_size}: the stem halves the image; use an even number")
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate is {drop_path_rate}: give a chance of at least 0 and less than 1")
        for name, layers in (("convolved", convolved), ("out_layers", out_layers or ())):
            if any(not 0 <= layer < depth for layer in layers):
                raise ValueError(f"{name} is {list(layers)}: name layers from 0 to {depth - 1}")
        self.spatial_dims, self.in_channels, self.features_only = spatial_dims, in_channels, features_only
        self.out_layers = tuple(sorted(out_layers)) if out_layers else (depth - 1,)
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        first = conv(in_channels, stem_channels, 7, 2, 3, bias=False)
        stem: list[nn.Module] = [first, Saturate(), norm(stem_channels), nn.ReLU()]
        for _ in range(stem_depth):
            inner = conv(stem_channels, stem_channels, 3, padding=1, bias=False)
            stem += [inner, Saturate(), norm(stem_channels), nn.ReLU()]
        self.stem = nn.Sequential(*stem)
        self.patch_embed = PatchTokens(spatial_dims, stem_channels, dim, img_size, patch_size, shrunk=2)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.mixers = nn.ModuleList(
            PlainMambaMixer(dim, spatial_dims, order, d_state, d_conv, expand, selection) for _ in range(depth)
        )
        rates = torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        self.drop_paths = nn.ModuleList(DropPath(rate) for rate in rates)
        self.convs = nn.ModuleDict(
            {
                str(i): nn.Sequential(conv(dim, dim, 3, padding=1, groups=dim, bias=False), norm(dim), nn.GELU())
                for i in convolved
            }
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        has_head = num_classes > 0 and not features_only
        self.head: nn.Module = nn.Linear(dim, num_classes) if has_head else nn.Identity()
        self.head.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_input(x, self.spatial_dims, self.in_channels)
        x, maps = self.patch_embed(self.stem(saturate(x))), []
        for i, (mixer, norm, drop_path) in enumerate(zip(self.mixers, self.norms, self.drop_paths, strict=True)):
            x = saturate(x + drop_path(mixer(norm(x))))
            if str(i) in self.convs:
                x = saturate(self.convs[str(i)](x.movedim(-1, 1)).movedim(1, -1))
            if i in self.out_layers and i < len(self.mixers) - 1:
                maps.append(x)
        x = self.norm(x)
        if self.features_only:
            last = [x] if len(self.mixers) - 1 in self.out_layers else []
            return [grid.movedim(-1, 1) for grid in (*maps, *last)]
        return saturate(in_float32(self.head, x.flatten(1, -2).mean(1)))
