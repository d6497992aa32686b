"""The loss of networks that fuse two images without a reference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import SSIMLoss
from torch import Tensor, nn

# how the gradient across an axis is smoothed along the other
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class FusionLoss(nn.Module):
    """Keep the brighter intensity, the steeper gradient and the structure of both images.

    FusionMamba (arXiv 2404.09498): the squared difference to the maximum of both images, the absolute difference
    between the gradient and the larger gradient, and 1 - SSIM with each image, halved and added.

    Args:
        intensity: weight of the first part.
        gradient: weight of the second part.
        structure: weight of the third part.

    Shape:
        fused (B, 1, W, H); target (B, 2, W, H), both images in the range 0 to 1; both sides at least 11. Returns one
        number.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> both = torch.rand(1, 1, 16, 16).repeat(1, 2, 1, 1)
        >>> round(FusionLoss()(both[:, :1], both).item(), 5)
        0.0

    Notes:
        The weights are those of the authors' code (github.com/millieXie/FusionMamba, 10, 1 and 10), which takes SSIM
        at five scales; here it is MONAI's at one scale, so that small patches can be trained on.
    """

    def __init__(self, intensity: float = 10.0, gradient: float = 1.0, structure: float = 10.0) -> None:
        super().__init__()
        self.weights = (intensity, gradient, structure)
        self.ssim = SSIMLoss(spatial_dims=2)
        across = torch.tensor(SOBEL)
        self.register_buffer("sobel", torch.stack((across, across.T)).unsqueeze(1), persistent=False)

    def forward(self, fused: Tensor, target: Tensor) -> Tensor:
        if fused.dim() != 4 or target.shape != (fused.shape[0], 2, *fused.shape[2:]) or fused.shape[1] != 1:
            raise ValueError(
                f"fused and target have shapes {tuple(fused.shape)} and {tuple(target.shape)}: give (batch, 1, W, H) "
                "and both images as (batch, 2, W, H)"
            )
        fused, target = fused.float(), target.float()
        intensity = F.mse_loss(fused, target.amax(1, keepdim=True))
        slopes = [self._slope(image) for image in (fused, *target.split(1, 1))]
        gradient = F.l1_loss(slopes[0], torch.maximum(*slopes[1:]))
        structure = sum(self.ssim(fused, image) for image in target.split(1, 1)) / 2
        total: Tensor = self.weights[0] * intensity + self.weights[1] * gradient + self.weights[2] * structure
        return total

    def _slope(self, image: Tensor) -> Tensor:
        assert isinstance(self.sobel, Tensor)
        return F.conv2d(image, self.sobel.to(image), padding=1).abs().sum(1, keepdim=True)
