"""What plain backbones, of one resolution from end to end, share: patches as tokens with learned positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import per_stage
from medmamba_monai.networks.blocks.positions import resize_positions
from medmamba_monai.networks.layers.precision import is_tracing, saturate, without_autocast


class PatchTokens(nn.Module):
    """Cut an image into patches, project each to a token and add its learned position.

    Vision transformers (arXiv 2010.11929), section 3.1; the image is padded with zeros to whole patches, and positions
    are interpolated where the grid is another.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        dim: channels of a token.
        img_size: size of the images that the positions are learned for, a number or one an axis.
        patch_size: side of a patch, a number or one an axis.
        shrunk: by how much what goes in was shrunk already: patches and images of it are smaller by that.

    Shape:
        x (B, in_channels, *S); returns (B, *grid, dim), channels last.

    Example:
        >>> PatchTokens(2, 1, 8, 16, 4)(torch.zeros(1, 1, 9, 8)).shape
        torch.Size([1, 3, 2, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        dim: int,
        img_size: int | Sequence[int],
        patch_size: int | Sequence[int],
        shrunk: int = 1,
    ) -> None:
        super().__init__()
        sizes = per_stage("img_size", img_size, spatial_dims)
        patches = per_stage("patch_size", patch_size, spatial_dims)
        self.grid = tuple(-(-n // patch) for n, patch in zip(sizes, patches, strict=True))
        self.patch = tuple(patch // shrunk for patch in patches)
        self.proj = Conv[Conv.CONV, spatial_dims](in_channels, dim, self.patch, self.patch)
        self.positions = nn.Parameter(torch.empty(1, int(torch.Size(self.grid).numel()), dim))
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        missing = [-n % patch for n, patch in zip(x.shape[2:], self.patch, strict=True)]
        # a trace must hold for sizes that need padding too
        if any(missing) or is_tracing():
            x = F.pad(x, [amount for axis in reversed(missing) for amount in (0, axis)])
        tokens = saturate(self.proj(saturate(x))).movedim(1, -1)
        with without_autocast(x):
            tokens = tokens.float() if tokens.element_size() < 4 else tokens
            positions = resize_positions(self.positions, self.grid, tokens.shape[1:-1])
            return tokens + positions.reshape(1, *tokens.shape[1:])
