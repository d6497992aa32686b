"""Networks inside what their task adds, so that they take one tensor and give one: the form that bundles need."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.data_consistency import keep_measured
from medmamba_monai.networks.layers.precision import saturate


class Enlarged(nn.Module):
    """A network that enlarges images, beside their bicubic interpolation: it learns what that lacks.

    The frame of VDSR (arXiv 1511.04587), with the interpolation outside of the network, and a factor of the network
    that is learned and begins at 0 (ReZero, arXiv 2003.04887), so that training begins at the interpolation.

    Args:
        network: from (B, C, *S) to (B, C, *S * scale) with two axes.
        scale: how much larger each side becomes.

    Shape:
        x (B, C, W, H); returns (B, C, W * scale, H * scale).

    Example:
        >>> Enlarged(nn.Upsample(scale_factor=2))(torch.zeros(1, 1, 4, 6)).shape
        torch.Size([1, 1, 8, 12])
    """

    def __init__(self, network: nn.Module, scale: int = 2) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        coarse = F.interpolate(x, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        return saturate(coarse + self.gain * self.network(x))


class MeasuredKept(nn.Module):
    """A network that reconstructs MR images of one coil, with k-space put back where it was measured.

    Data consistency after MambaRecon (arXiv 2409.12401). What the network adds to its input has a factor that is
    learned and begins at 0, so that training begins at the zero-filled image.

    Args:
        network: from (B, 2, *S) to (B, 2, *S), real and imaginary part.

    Shape:
        x (B, 3, *S): real and imaginary part of the zero-filled image, and the mask, above 0 where k-space was
        measured, its centre in the middle. Returns (B, 2, *S).

    Example:
        >>> x = torch.rand(1, 3, 4, 6)
        >>> torch.allclose(MeasuredKept(nn.Conv2d(2, 2, 1))(x), x[:, :2], atol=1e-5)
        True
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        image = saturate(x[:, :2])
        made = image + self.gain * (self.network(image) - image)
        return keep_measured(saturate(made), image, x[:, 2:3])


class PairInChannels(nn.Module):
    """FusionMamba with both images in one tensor, behind one another: it learns what their average lacks.

    FusionMamba (arXiv 2404.09498) adds twice both images to what its decoder gives; a quarter of each goes in here, so
    that this is their average. The rest has a factor that is learned and begins at 0.

    Args:
        network: from two images (B, C, *S) to one (B, C, *S).

    Shape:
        x (B, 2 C, *S); returns (B, C, *S).

    Example:
        >>> PairInChannels(nn.Bilinear(3, 3, 3))(torch.ones(1, 2, 4, 3)).unique().tolist()
        [1.0]
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        first, second = (saturate(x) / 4).chunk(2, 1)
        average = 2 * (first + second)
        return saturate(average + self.gain * (self.network(first, second) - average))
