"""What hierarchical classifiers share: a pyramid of features, a norm, average pooling and a linear head."""

from __future__ import annotations

from torch import Tensor, nn

from medmamba_monai.networks.blocks.pyramid import Pyramid
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork


class PyramidClassifier(PublishedNetwork):
    """Classify by the pooled last grid of a pyramid, or return all its maps; a base class.

    The head of VMamba (arXiv 2401.10166), figure 3.

    Args:
        encoder: gives the grids, channels last.
        norm: applied to the last grid in front of pooling.
        num_classes: classes; 0 returns the pooled features instead of logits.
        features_only: return the stages' maps; there is no norm and no head then.

    Shape:
        x (B, in_channels, *S); returns (B, num_classes), or with ``features_only`` a list of maps (B, dims[i], *S_i).

    Raises:
        ValueError: when the number of classes is negative.

    Example:
        >>> import torch
        >>> encoder = Pyramid(2, 1, [4], nn.Sequential(nn.Conv2d(1, 4, 2, 2)), [nn.Identity()], [])
        >>> PyramidClassifier(encoder, nn.Identity(), 3, True)(torch.zeros(2, 1, 8, 8))[0].shape
        torch.Size([2, 4, 4, 4])
    """

    def __init__(self, encoder: Pyramid, norm: nn.Module, num_classes: int, features_only: bool) -> None:
        super().__init__()
        if num_classes < 0:
            raise ValueError(f"num_classes is {num_classes}: give the number of classes, or 0 for features")
        self.spatial_dims, self.in_channels = encoder.spatial_dims, encoder.in_channels
        self.features_only = features_only
        self.encoder = encoder
        self.norm: nn.Module = nn.Identity() if features_only else norm
        has_head = num_classes > 0 and not features_only
        self.head: nn.Module = nn.Linear(encoder.dims[-1], num_classes) if has_head else nn.Identity()

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        maps: list[Tensor] = self.encoder(x)
        if self.features_only:
            return [grid.movedim(-1, 1) for grid in maps]
        return saturate(in_float32(self.head, self.norm(maps[-1]).flatten(1, -2).mean(1)))
