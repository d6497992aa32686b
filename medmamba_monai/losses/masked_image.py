"""The loss of networks that paint what was hidden of an image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import per_stage


class MaskedImageLoss(nn.Module):
    """The mean squared difference to the image in the patches that were hidden.

    "Masked Autoencoders Are Scalable Vision Learners" (arXiv 2111.06377), and MambaMIM (arXiv 2408.08070).

    Args:
        patch_size: side of a patch in voxels, one number or one an axis; that of the masks.
        normalise: compare with patches of mean 0 and deviation 1 instead of the intensities themselves.

    Shape:
        painted (B, C, *S); target (B, C + 1, *S): the image, and 1 where it was hidden, as
        `medmamba_monai.engines.PrepareMaskedBatch` joins them. Returns one number.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> import torch
        >>> target = torch.zeros(1, 2, 8, 8)
        >>> target[:, 1, :4] = 1
        >>> round(MaskedImageLoss(4, normalise=False)(torch.full((1, 1, 8, 8), 0.5), target).item(), 4)
        0.25
    """

    def __init__(self, patch_size: int | Sequence[int] = 16, normalise: bool = True) -> None:
        super().__init__()
        self.patch_size, self.normalise = patch_size, normalise

    def forward(self, painted: Tensor, target: Tensor) -> Tensor:
        if target.shape != (painted.shape[0], painted.shape[1] + 1, *painted.shape[2:]):
            raise ValueError(
                f"painted and target have shapes {tuple(painted.shape)} and {tuple(target.shape)}: the target is the "
                "image, with as many channels as was painted, and the mask behind them"
            )
        image = patches(target[:, :-1].float(), self.patch_size)
        hidden = patches(target[:, -1:].float(), self.patch_size).amax(-1)
        if self.normalise:
            deviation = (image.var(-1, keepdim=True) + 1e-6).sqrt()
            image = (image - image.mean(-1, keepdim=True)) / deviation
        error = (patches(painted.float(), self.patch_size) - image).square().mean(-1)
        loss: Tensor = (error * hidden).sum() / hidden.sum().clamp(min=1)
        return loss


def patches(x: Tensor, patch_size: int | Sequence[int]) -> Tensor:
    """The patches of an image, one a row.

    Shape:
        x (B, C, *S); returns (B, patches, C * voxels of a patch).

    Raises:
        ValueError: when patches do not fill the image.

    Example:
        >>> import torch
        >>> patches(torch.zeros(1, 2, 8, 6), (4, 3)).shape
        torch.Size([1, 4, 24])
    """
    cells = patch_grid(x.shape[2:], patch_size)
    dims = len(cells)
    grid, inner = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    split = x.reshape(*x.shape[:2], *(n for cell in cells for n in cell))
    return split.permute(0, *grid, 1, *inner).flatten(1 + dims).flatten(1, dims)


def patch_grid(size: Sequence[int], patch_size: int | Sequence[int]) -> list[tuple[int, int]]:
    """The number of patches along each axis, and their side.

    Raises:
        ValueError: when patches do not fill the image.

    Example:
        >>> patch_grid((8, 9), 4)
        Traceback (most recent call last):
        ValueError: size 9 is not divisible by the patch's 4: pad to 12
    """
    sides = per_stage("patch_size", patch_size, len(size))
    for length, side in zip(size, sides, strict=True):
        if length % side:
            raise ValueError(
                f"size {length} is not divisible by the patch's {side}: pad to {-(-length // side) * side}"
            )
    return [(length // side, side) for length, side in zip(size, sides, strict=True)]
