"""The loss of a registration: likeness of the images, smoothness of the displacement, overlap of the labels."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss, DiffusionLoss
from monai.networks.blocks import Warp
from torch import Tensor, nn


class RegistrationLoss(nn.Module):
    """Add how unlike the warped moving image is, how rough the displacement is, and how badly the labels overlap.

    VoxelMorph (arXiv 1809.05231), equations 8 and 9, of MONAI's parts.

    Args:
        similarity: loss of the warped image and the fixed one, such as MONAI's local cross-correlation.
        smoothness: weight of MONAI's DiffusionLoss, the mean square of the displacement's differences.
        overlap: weight of the Dice loss of the labels; with 0 they are not read, and training needs images only.
        structures: number of the labels' structures, 1, 2, ...

    Shape:
        displacement (B, axes, *S) in voxels, as MONAI's Warp takes it; target (B, 4, *S): fixed image, moving image,
        fixed label, moving label. Returns one number.

    Raises:
        ValueError: when the target has another number of channels.

    Example:
        >>> target = torch.rand(1, 4, 6, 6).round()
        >>> float(RegistrationLoss(nn.MSELoss())(torch.zeros(1, 2, 6, 6), target)) > 0
        True
    """

    def __init__(
        self, similarity: nn.Module, smoothness: float = 1.0, overlap: float = 0.0, structures: int = 1
    ) -> None:
        super().__init__()
        self.similarity, self.smoothness, self.overlap = similarity, smoothness, overlap
        self.structures = structures
        self.rough, self.dice = DiffusionLoss(), DiceLoss()
        self.warp = Warp(mode="bilinear", padding_mode="zeros")  # type: ignore[no-untyped-call]

    def forward(self, displacement: Tensor, target: Tensor) -> Tensor:
        if target.shape[1] != 4:
            raise ValueError(
                f"target has {target.shape[1]} channels: give 4, the fixed and the moving image and their labels"
            )
        displacement, target = displacement.float(), target.float()
        fixed, moving, label, moving_label = target.split(1, 1)
        masks = self._masks(moving_label) if self.overlap else moving[:, :0]
        moved = self.warp(torch.cat((moving, masks), 1), displacement)
        loss: Tensor = self.similarity(moved[:, :1], fixed) + self.smoothness * self.rough(displacement)
        return loss + self.overlap * self.dice(moved[:, 1:], self._masks(label)) if self.overlap else loss

    def _masks(self, label: Tensor) -> Tensor:
        return torch.cat([label == number for number in range(1, self.structures + 1)], 1).float()
