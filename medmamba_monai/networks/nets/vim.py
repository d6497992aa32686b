"""Vim: a plain stack of bidirectional Mamba layers over the patches of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.positions import resize_positions, rotate
from medmamba_monai.networks.layers.local_mamba import LocalMamba
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import in_float32, is_tracing, saturate, without_autocast
from medmamba_monai.networks.layers.vim import VimMamba
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


def _size(dim: int, parameters: int, **given: Any) -> Variant:
    return Variant({"dim": dim, **given}, parameters)


class Vim(PublishedNetwork):
    """Classify images, or give the map of patch tokens to another network.

    Vision Mamba (arXiv 2401.09417), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        img_size: size of the training images, a number or one an axis; other sizes work too.
        patch_size: side of a patch.
        stride: distance of patches; the patch size if None.
        dim: channels of a token.
        depth: number of layers.
        mixer: "two_way" for the paper's layer (the authors' "v2"), "two_way_shared" for one whose directions share
            their parameters ("v1"), "paired" for plain Mamba layers of which every second reads backwards, "local" for
            LocalMamba's layer (arXiv 2403.09338) along the paths of ``order``; it goes with pools without class token.
        pool: what is classified: "middle" (a class token in the middle of the sequence), "mean" or "last" (of the
            patch tokens), or "max" (the largest logit of all patch tokens).
        positions: add learned positions, interpolated where the grid is another.
        rotary: rotate the tokens before every layer (`medmamba_monai.networks.blocks.positions.rotate`).
        norm: "rms" or "layer".
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        drop_path_rate: chance to drop the last layer's branch; it grows linearly from 0 over the layers.
        order: name of the scan order of "local", see `medmamba_monai.ops.scan_order`, or a list that layers take in
            turn.
        features_only: return the map of patch tokens; there is no head then.

    Shape:
        x (B, in_channels, *S) of any size: it is padded with zeros to whole patches. Returns (B, num_classes), or with
        ``features_only`` a list with one map (B, dim, *grid).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = Vim(2, 1, 3, img_size=32, patch_size=8, dim=16, depth=2)
        >>> net(torch.zeros(2, 1, 30, 40)).shape
        torch.Size([2, 3])

    Notes:
        The authors' names of these sizes say "mean": with a class token their code ignores it, and here ``pool`` is
        "middle". The authors' code refuses sizes other than ``img_size``. Their buffers of the rotation are computed
        here when they are needed. A class token at the head or the tail of the sequence is not built.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": _size(192, 7_148_008),
            "small": _size(384, 25_796_584),
            "base": _size(768, 97_598_440),
            "tiny_stride8": _size(192, 7_250_344, stride=8),
        }
    )
    source: ClassVar[Source] = Source(
        "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space Model "
        "(arXiv 2401.09417)",
        "https://github.com/hustvl/Vim @ dd0358a",
        "Apache-2.0",
        "outputs and gradients of three small networks and of two layers; parameter counts of four sizes",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        stride: int | None = None,
        dim: int = 192,
        depth: int = 24,
        mixer: str = "two_way",
        pool: str = "middle",
        positions: bool = True,
        rotary: bool = False,
        norm: str = "rms",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        drop_path_rate: float = 0.0,
        order: str | Sequence[str] = "local:2",
        features_only: bool = False,
    ) -> None:
        super().__init__()
        stride = patch_size if stride is None else stride
        check_positive(in_channels=in_channels, patch_size=patch_size, stride=stride, dim=dim, depth=depth)
        if num_classes < 0:
            raise ValueError(f"num_classes is {num_classes}: give the number of classes, or 0 for features")
        _check_parts(spatial_dims, mixer, pool, norm, rotary, dim, depth)
        self.spatial_dims, self.in_channels, self.features_only = spatial_dims, in_channels, features_only
        self.patch_size, self.stride = patch_size, stride
        self.pool, self.rotary, self.paired = pool, rotary, mixer == "paired"
        sizes = per_stage("img_size", img_size, spatial_dims)
        self.grid = tuple(max(n - patch_size, 0) // stride + 1 for n in sizes)
        self.patch_embed = Conv[Conv.CONV, spatial_dims](in_channels, dim, patch_size, stride)
        tokens = (1 if pool == "middle" else 0) + int(torch.Size(self.grid).numel())
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim)) if positions else None
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if pool == "middle" else None
        mamba = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        self.mixers = _mixers(mixer, dim, depth, spatial_dims, [order] if isinstance(order, str) else order, **mamba)
        self.norms = nn.ModuleList(_norm(norm, dim) for _ in range(depth))
        # the authors' rates are one place late: the first two branches are never dropped
        rates = [0.0, *torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()]
        self.drop_paths = nn.ModuleList(DropPath(rate) for rate in rates)
        self.norm = _norm(norm, dim)
        has_head = num_classes > 0 and not features_only
        self.head: nn.Module = nn.Linear(dim, num_classes) if has_head else nn.Identity()
        self._start(depth)

    def _start(self, depth: int) -> None:
        for parameter in (self.pos_embed, self.cls_token, getattr(self.head, "weight", None)):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)
        if isinstance(self.head, nn.Linear):
            nn.init.zeros_(self.head.bias)
        for mixer in self.mixers:
            assert isinstance(mixer, (Mamba, LocalMamba))
            with torch.no_grad():
                mixer.out_proj.weight.div_(depth**0.5)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        y, grid = self.sequence(x)
        if self.features_only:
            middle = (y.shape[1] - 1) // 2
            kept = torch.cat((y[:, :middle], y[:, middle + 1 :]), 1) if self.cls_token is not None else y
            return [kept.transpose(1, 2).reshape(x.shape[0], -1, *grid)]
        return self._classify(y)

    def sequence(self, x: Tensor) -> tuple[Tensor, Sequence[int]]:
        """All tokens behind the last norm, (B, L, dim), the class token in the middle, and the size of their grid."""
        check_input(x, self.spatial_dims, self.in_channels)
        patches = saturate(self.patch_embed(saturate(self._pad(x))))
        grid = patches.shape[2:]
        with without_autocast(x):
            tokens = patches.flatten(2).transpose(1, 2)
            tokens = self._with_positions(tokens.float() if tokens.element_size() < 4 else tokens, grid)
        return self._mix(tokens, grid), grid

    def _pad(self, x: Tensor) -> Tensor:
        missing = [max(self.patch_size - n, 0) or -(n - self.patch_size) % self.stride for n in x.shape[2:]]
        # a trace must hold for sizes that need padding too
        if not any(missing) and not is_tracing():
            return x
        return F.pad(x, [amount for axis in reversed(missing) for amount in (0, axis)])

    def _with_positions(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """Add the class token and the positions, resized where the grid is another."""
        table: Tensor | None = self.pos_embed
        middle = tokens.shape[1] // 2
        if self.cls_token is not None:
            own = self.cls_token.expand(tokens.shape[0], -1, -1)
            if table is not None:
                place = (table.shape[1] - 1) // 2
                own = own + table[:, place : place + 1]
                table = torch.cat((table[:, :place], table[:, place + 1 :]), 1)
        if table is not None:
            tokens = tokens + resize_positions(table, self.grid, grid)
        if self.cls_token is not None:
            tokens = torch.cat((tokens[:, :middle], own, tokens[:, middle:]), 1)
        return tokens

    def _mix(self, x: Tensor, grid: Sequence[int]) -> Tensor:
        """All layers: each adds what the layer before gave to the residual, normalises it and mixes it."""
        residual: Tensor | None = None
        step = 2 if self.paired else 1
        for i in range(0, len(self.mixers), step):
            if self.rotary:
                x = rotate(x, grid, self.grid)
                residual = None if residual is None else rotate(residual, grid, self.grid)
            found = [self._layer(i, x, residual, grid)]
            if self.paired:
                turned = self._layer(i + 1, x.flip(1), None if residual is None else residual.flip(1), grid)
                found.append((turned[0].flip(1), turned[1].flip(1)))
            x = saturate(torch.stack([y for y, _ in found]).sum(0) if self.paired else found[0][0])
            residual = torch.stack([r for _, r in found]).sum(0) if self.paired else found[0][1]
        last: Tensor = self.norm(residual + self.drop_paths[-1](x))
        return last

    def _layer(self, i: int, x: Tensor, residual: Tensor | None, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        residual = x if residual is None else residual + self.drop_paths[i](x)
        normed, mixer = self.norms[i](residual), self.mixers[i]
        return mixer(normed, grid) if isinstance(mixer, LocalMamba) else mixer(normed), residual

    def _classify(self, y: Tensor) -> Tensor:
        if self.pool == "middle":
            y = y[:, (y.shape[1] - 1) // 2]
        elif self.pool == "mean":
            y = y.mean(1)
        elif self.pool == "last":
            y = y[:, -1]
        logits = saturate(in_float32(self.head, y))
        return logits.amax(1) if self.pool == "max" else logits


def _check_parts(spatial_dims: int, mixer: str, pool: str, norm: str, rotary: bool, dim: int, depth: int) -> None:
    """Refuse unknown names, and parts that do not go together."""
    check_choice("spatial_dims", spatial_dims, (2, 3))
    check_choice("mixer", mixer, ("two_way", "two_way_shared", "paired", "local"))
    check_choice("pool", pool, ("middle", "mean", "last", "max"))
    check_choice("norm", norm, ("rms", "layer"))
    if rotary and (dim % (2 * spatial_dims) or pool == "middle"):
        raise ValueError(f"rotary needs dim divisible by {2 * spatial_dims}, not {dim}, and a pool without class token")
    if mixer == "local" and pool == "middle":
        raise ValueError(f"pool is {pool!r}: mixer 'local' reads the grid alone; use 'mean', 'last' or 'max'")
    if mixer == "paired" and depth % 2:
        raise ValueError(f"depth is {depth}: paired layers need an even number")


def _mixers(name: str, dim: int, depth: int, spatial_dims: int, orders: Sequence[str], **mamba: Any) -> nn.ModuleList:
    layers: list[nn.Module] = []
    for i in range(depth):
        if name == "local":
            layers.append(LocalMamba(dim, spatial_dims=spatial_dims, order=orders[i % len(orders)], **mamba))
        elif name == "paired":
            layers.append(Mamba(dim, **mamba))
        else:
            layers.append(VimMamba(dim, share=name == "two_way_shared", mean=name == "two_way", **mamba))
    return nn.ModuleList(layers)


def _norm(name: str, dim: int) -> nn.Module:
    return nn.RMSNorm(dim, eps=1e-5) if name == "rms" else nn.LayerNorm(dim)
