"""VMamba's block, the VSS block, and the encoder made of it, which many U-Nets share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive, per_stage
from medmamba_monai.networks.blocks.patches import ConvMerging, OverlapPatchEmbed, PatchEmbed, PatchMerging, token_norm
from medmamba_monai.networks.blocks.pyramid import Pyramid
from medmamba_monai.networks.blocks.ss_conv_ssm import SSConvSSM
from medmamba_monai.networks.layers.mamba import StepProjection
from medmamba_monai.networks.layers.masked_scan import MaskedScanMixer
from medmamba_monai.networks.layers.multi_head_scan import MultiHeadScan
from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.layers.scan_mixer import ScanMixer
from medmamba_monai.networks.layers.sequence_mixer import SequenceMixer

MIXERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"scan": ScanMixer, "sequence": SequenceMixer, "heads": MultiHeadScan, "masked": MaskedScanMixer}
)


class Mlp(nn.Module):
    """Two linear maps of each token with GELU between them, if wished gated or with neighbours mixed in the middle.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        hidden: width between the two maps.
        gated: multiply by GELU of a second projection, as gMLP does, instead of applying GELU to the first.
        kernels: odd sizes of depthwise convolutions whose results are added to the middle, as in MSVM-UNet
            (arXiv 2408.13735), section 3.2.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> Mlp(2, 4, 8)(torch.zeros(1, 3, 3, 4)).shape
        torch.Size([1, 3, 3, 4])
    """

    def __init__(
        self, spatial_dims: int, channels: int, hidden: int, gated: bool = False, kernels: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.gated = gated
        self.fc1 = nn.Linear(channels, 2 * hidden if gated else hidden)
        self.fc2 = nn.Linear(hidden, channels)
        conv = Conv[Conv.CONV, spatial_dims]
        self.convs = nn.ModuleList(conv(hidden, hidden, k, padding=k // 2, groups=hidden, bias=False) for k in kernels)

    def forward(self, x: Tensor) -> Tensor:
        if self.gated:
            content, gate = saturate(self.fc1(x)).chunk(2, -1)
            middle = saturate(content * F.gelu(gate))
        else:
            middle = F.gelu(saturate(self.fc1(x)))
        if self.convs:
            grid = middle.movedim(-1, 1)
            middle = middle + sum(saturate(conv(grid)) for conv in self.convs).movedim(1, -1)  # type: ignore[union-attr]
        return saturate(self.fc2(saturate(middle)))


class VSSBlock(nn.Module):
    """x + mixer(norm(x)), and where ``mlp_ratio`` is given, x + mlp(norm(x)) after it.

    VMamba (arXiv 2401.10166), figure 3 (VSS block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        drop_path: chance to drop a residual branch for a sample while training.
        mlp_ratio: hidden width of the MLP over the channels; 0 leaves the MLP out.
        gated_mlp: gate the MLP.
        mlp_kernels: sizes of the convolutions inside the MLP.
        norm: "layer" or "batch".
        mixer: "scan" for `ScanMixer`, "sequence" for `SequenceMixer`, "heads" for `MultiHeadScan`, "masked" for
            `MaskedScanMixer`.
        residual: add the mixer's result to its input instead of replacing it.
        arguments: those of the mixer, for example ``order``, ``d_state``, ``expand``, ``gate`` or ``core``.

    Raises:
        ValueError: when there is no such mixer, or an argument is out of range.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> VSSBlock(2, 8, mlp_ratio=4, d_state=1, gate=False)(torch.zeros(1, 3, 3, 8)).shape
        torch.Size([1, 3, 3, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        drop_path: float = 0.0,
        mlp_ratio: float = 0.0,
        gated_mlp: bool = False,
        mlp_kernels: Sequence[int] = (),
        norm: str = "layer",
        mixer: str = "scan",
        residual: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__()
        check_choice("mixer", mixer, tuple(MIXERS))
        self.norm, self.residual = token_norm(norm, channels), residual
        self.mixer = MIXERS[mixer](channels, spatial_dims, **arguments)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2: nn.Module | None = None
        if mlp_ratio > 0:
            self.norm2 = token_norm(norm, channels)
            self.mlp = Mlp(spatial_dims, channels, int(mlp_ratio * channels), gated_mlp, mlp_kernels)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.drop_path(self.mixer(self.norm(x)))
        x = saturate(x + mixed) if self.residual else saturate(mixed)
        if self.norm2 is not None:
            x = saturate(x + self.drop_path(self.mlp(self.norm2(x))))
        return x


def vss_stage(
    spatial_dims: int,
    channels: int,
    drop_paths: Sequence[float],
    block: str = "vss",
    first_layer: int = 0,
    **arguments: Any,
) -> nn.Sequential:
    """Several blocks, one for each rate of drop path: "vss", "replace" (without residual) or "ss_conv_ssm".

    They are the layers ``first_layer``, ``first_layer + 1``, ... for scan orders that give each layer another path;
    of a list of orders the layers take one each in turn.

    Example:
        >>> [block.mixer.order.name for block in vss_stage(2, 8, [0.0, 0.1, 0.0], order=["hw", "wh"])]
        ['hw', 'wh', 'hw']
    """
    check_choice("block", block, ("vss", "replace", "ss_conv_ssm"))
    if block != "ss_conv_ssm":
        arguments["residual"] = block == "vss"
    build: Callable[..., nn.Module] = SSConvSSM if block == "ss_conv_ssm" else VSSBlock
    orders = arguments.pop("order", "cross")
    orders = [orders] if isinstance(orders, str) else list(orders)
    return nn.Sequential(
        *(
            build(spatial_dims, channels, drop_path=rate, order=orders[layer % len(orders)], layer=layer, **arguments)
            for layer, rate in enumerate(drop_paths, first_layer)
        )
    )


class VSSEncoder(Pyramid):
    """Patch embedding and stages of VSS blocks, each but the last followed by a step to half the resolution.

    VMamba (arXiv 2401.10166), figure 3.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        depths: blocks of each stage.
        dims: channels of each stage, each twice the one before.
        patch_size: side of a patch.
        embed: "patch" for one convolution without overlap, "overlap" for two of 3x3.
        merge: "patch" to join four neighbours, "conv" for a convolution of 3x3 with stride 2.
        drop_path_rate: chance to drop a branch in the last block; it grows linearly from 0 over the blocks.
        norm: "layer" or "batch", in front of branches and after convolutions.
        block: further arguments of `vss_stage`, its blocks and their mixers.

    Shape:
        x (B, in_channels, *S) of any size; returns a list of grids (B, *S_i, dims[i]), channels last, the results of
        the stages.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = VSSEncoder(2, 1, [1, 1], [8, 16])
        >>> [tuple(grid.shape) for grid in net(torch.zeros(1, 1, 20, 16))]
        [(1, 5, 4, 8), (1, 3, 2, 16)]

    Notes:
        Images that the patch size does not divide and odd grids are padded with zeros, as VMamba's code does; with
        "overlap" and "conv" sizes are rounded up by the convolutions themselves.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        depths: Sequence[int],
        dims: Sequence[int],
        patch_size: int = 4,
        embed: str = "patch",
        merge: str = "patch",
        drop_path_rate: float = 0.0,
        norm: str = "layer",
        **block: Any,
    ) -> None:
        check_encoder_arguments(spatial_dims, in_channels, depths, dims, drop_path_rate)
        check_choice("embed", embed, ("patch", "overlap"))
        check_choice("merge", merge, ("patch", "conv"))
        check_positive(patch_size=patch_size)
        patch_embed: nn.Module
        if embed == "patch":
            patch_embed = PatchEmbed(spatial_dims, in_channels, dims[0], patch_size)
        else:
            patch_embed = OverlapPatchEmbed(spatial_dims, in_channels, dims[0], patch_size, norm)
        rates = drop_paths(drop_path_rate, depths)
        if norm != "layer":
            block = {**block, "norm": norm}
        firsts = [sum(depths[:stage]) for stage in range(len(depths))]
        stages = [
            vss_stage(spatial_dims, width, rate, first_layer=first, **block)
            for width, rate, first in zip(dims, rates, firsts, strict=True)
        ]
        merges = [
            PatchMerging(spatial_dims, a) if merge == "patch" else ConvMerging(spatial_dims, a, b, norm)
            for a, b in zip(dims, dims[1:], strict=False)
        ]
        super().__init__(spatial_dims, in_channels, dims, patch_embed, stages, merges)
        self.apply(init_linear)


def drop_paths(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates of drop path that grow linearly from 0 to ``rate`` over all blocks, a list for each stage.

    Example:
        >>> drop_paths(0.5, [1, 2])
        [[0.0], [0.25, 0.5]]
    """
    rates = iter(torch.linspace(0, rate, sum(depths), device="cpu").tolist())
    return [[next(rates) for _ in range(depth)] for depth in depths]


def check_encoder_arguments(
    spatial_dims: int, in_channels: int, depths: Sequence[int], dims: Sequence[int], drop_path_rate: float
) -> None:
    """Refuse what no encoder of VSS blocks can be built from.

    Raises:
        ValueError: naming the argument.
    """
    check_choice("spatial_dims", spatial_dims, (2, 3))
    check_positive(in_channels=in_channels)
    per_stage("depths", depths, len(dims))
    per_stage("dims", dims, len(dims))
    for before, after in zip(dims, dims[1:], strict=False):
        if after != 2 * before:
            raise ValueError(f"dims is {list(dims)}: each stage must have twice the channels of the one before")
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f"drop_path_rate is {drop_path_rate}: give a chance of at least 0 and less than 1")


def init_linear(module: nn.Module) -> None:
    """The authors' start of linear maps: weights from a normal distribution of deviation 0.02, biases 0."""
    if isinstance(module, nn.Linear) and not isinstance(module, StepProjection):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
