"""MedMamba: classification of medical images by convolutions and cross scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.patches import PatchEmbed, PatchMerging
from medmamba_monai.networks.blocks.ss_conv_ssm import SSConvSSM
from medmamba_monai.networks.nets.variant import NO_FILE, PublishedNetwork, Source, Variant

_SMALL_DIMS, _BASE_DIMS = [96, 192, 384, 768], [128, 256, 512, 1024]


class MedMamba(PublishedNetwork):
    """Classify 2D images or 3D volumes.

    MedMamba (arXiv 2403.03849), figure 1: patch embedding, four stages of SS-Conv-SSM blocks with patch merging
    between them, average pooling and a linear head.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_classes: classes; 0 returns the pooled features instead of logits.
        depths: blocks of each stage.
        dims: channels of each stage, even, each twice the one before.
        patch_size: side of a patch.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`.
        d_state: numbers in the state of each channel.
        drop_path_rate: chance to drop a scan in the last block; it grows linearly from 0 over the blocks.
        dropout: dropout of the pooled features in front of the head.
        patch_norm: normalise the tokens of the patch embedding.
        odd_sizes: "pad" adds zeros where a grid cannot be halved or cut into patches, "crop" drops the last row.
        features_only: return the stages' maps; there is no head then.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, num_classes), or with ``features_only`` a list of maps
        (B, dims[i], *S_i), the highest resolution first.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = MedMamba(2, 1, 3, depths=[1, 1], dims=[8, 16])
        >>> net(torch.zeros(2, 1, 28, 30)).shape
        torch.Size([2, 3])

    Notes:
        The authors' code crops odd grids, and fails on grids of one row; "crop" gives its numbers, "pad" works at any
        size. The depths of small and base differ between the authors' code ("small", "base": their checkpoints) and
        their paper ("small_paper", "base_paper").
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": Variant({"depths": [2, 2, 4, 2], "dims": _SMALL_DIMS}, 15_221_608),
            "small": Variant({"depths": [2, 2, 8, 2], "dims": _SMALL_DIMS}, 19_389_544),
            "base": Variant({"depths": [2, 2, 12, 2], "dims": _BASE_DIMS}, 40_883_688),
            "small_paper": Variant({"depths": [2, 2, 12, 2], "dims": _SMALL_DIMS}, 23_557_480),
            "base_paper": Variant({"depths": [2, 2, 16, 2], "dims": _BASE_DIMS}, 48_144_872),
        }
    )
    source: ClassVar[Source] = Source(
        "MedMamba: Vision Mamba for Medical Image Classification (arXiv 2403.03849)",
        "https://github.com/YubiaoYue/MedMamba @ 104beb3",
        NO_FILE,
        "outputs and gradients of a small network; parameter counts of the sizes of the code and of the paper",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        depths: Sequence[int] = (2, 2, 4, 2),
        dims: Sequence[int] = (96, 192, 384, 768),
        patch_size: int = 4,
        order: str = "cross",
        d_state: int = 16,
        drop_path_rate: float = 0.1,
        dropout: float = 0.0,
        patch_norm: bool = True,
        odd_sizes: str = "pad",
        features_only: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("odd_sizes", odd_sizes, ("pad", "crop"))
        check_positive(in_channels=in_channels, patch_size=patch_size, d_state=d_state)
        if num_classes < 0:
            raise ValueError(f"num_classes is {num_classes}: give the number of classes, or 0 for features")
        for name, rate in (("drop_path_rate", drop_path_rate), ("dropout", dropout)):
            if not 0 <= rate < 1:
                raise ValueError(f"{name} is {rate}: give a chance of at least 0 and less than 1")
        stages = len(dims)
        depths, dims = per_stage("depths", depths, stages), per_stage("dims", dims, stages)
        for before, after in zip(dims, dims[1:], strict=False):
            if after != 2 * before:
                raise ValueError(f"dims is {list(dims)}: each stage must have twice the channels of the one before")
        if dims[0] % 2:
            raise ValueError(f"dims is {list(dims)}: blocks split the channels in halves; start with an even number")
        self.spatial_dims, self.in_channels, self.num_classes = spatial_dims, in_channels, num_classes
        self.features_only = features_only
        pad = odd_sizes == "pad"
        self.smallest = 1 if pad else patch_size * 2 ** (stages - 1)
        self.patch_embed = PatchEmbed(spatial_dims, in_channels, dims[0], patch_size, patch_norm, pad)
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        self.stages, self.merges = nn.ModuleList(), nn.ModuleList()
        for i, (depth, width) in enumerate(zip(depths, dims, strict=True)):
            first = sum(depths[:i])
            layers = range(first, first + depth)
            blocks = [SSConvSSM(spatial_dims, width, order, d_state, next(rates), layer) for layer in layers]
            self.stages.append(nn.Sequential(*blocks))
            self.merges.append(PatchMerging(spatial_dims, width, pad) if i < stages - 1 else nn.Identity())
        self.dropout: nn.Module = nn.Dropout(dropout) if dropout else nn.Identity()
        has_head = num_classes > 0 and not features_only
        self.head: nn.Module = nn.Linear(dims[-1], num_classes) if has_head else nn.Identity()
        self.apply(_init)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        if self.features_only:
            return self.feature_maps(x)
        x = self.feature_map(x)
        logits: Tensor = self.head(self.dropout(x.flatten(2).mean(2)))
        return logits

    def feature_map(self, x: Tensor) -> Tensor:
        """The last stage's map, (B, dims[-1], *S), for example for class activation maps."""
        return self.feature_maps(x)[-1]

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of all stages, (B, dims[i], *S_i)."""
        check_input(x, self.spatial_dims, self.in_channels, (self.smallest,) * self.spatial_dims)
        x, maps = self.patch_embed(x), []
        for stage, merge in zip(self.stages, self.merges, strict=True):
            x = stage(x)
            maps.append(x.movedim(-1, 1))
            x = merge(x)
        return maps

    @classmethod
    def from_variant(cls, name: str, **overrides: Any) -> MedMamba:
        """Build a published size; `variants` lists names and parameter counts for 1000 classes.

        Raises:
            ValueError: when the name is unknown.

        Example:
            >>> with torch.device("meta"):
            ...     net = MedMamba.from_variant("tiny", num_classes=6)
            >>> sum(p.numel() for p in net.parameters())
            14457222
        """
        check_choice("name", name, tuple(cls.variants))
        return cls(**{**cls.variants[name].arguments, **overrides})


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
