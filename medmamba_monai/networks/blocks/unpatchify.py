"""Tokens of patches become the pixels of a complex image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.layers.precision import saturate


class Unpatchify(nn.Module):
    """A linear map of each token to the two numbers of each pixel of its patch.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        patch_size: side of a patch.

    Shape:
        x (B, *S, channels); returns (B, 2, *S * patch_size), cut to ``size``.

    Example:
        >>> import torch
        >>> Unpatchify(2, 8, 2)(torch.zeros(1, 3, 2, 8), (5, 4)).shape
        torch.Size([1, 2, 5, 4])
    """

    def __init__(self, spatial_dims: int, channels: int, patch_size: int) -> None:
        super().__init__()
        self.spatial_dims, self.patch_size = spatial_dims, patch_size
        self.linear = nn.Linear(channels, 2 * patch_size**spatial_dims, bias=False)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        dims, side = self.spatial_dims, self.patch_size
        cells = saturate(self.linear(x)).unflatten(-1, (*(side,) * dims, 2))
        # the channels, then each axis of the grid followed by the axis inside a patch
        order = [0, 2 * dims + 1, *(axis for d in range(dims) for axis in (1 + d, 1 + dims + d))]
        image = cells.permute(order).reshape(x.shape[0], 2, *(n * side for n in x.shape[1:-1]))
        return crop(image, size, first_axis=2)
