"""Data consistency of MR images: what was measured in k-space stays as it was measured."""

from __future__ import annotations

import torch
from monai.networks.blocks.fft_utils_t import fftn_centered_t, ifftn_centered_t
from torch import Tensor

from medmamba_monai.networks.layers.precision import saturate, without_autocast


def keep_measured(image: Tensor, zero_filled: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
    """The image with its k-space replaced where it was measured.

    Args:
        image: what a network made, real and imaginary part.
        zero_filled: the image of the measured k-space, zero elsewhere.
        mask: above 0 where k-space was measured, its centre in the middle.
        maps: the coils' complex sensitivities in MONAI's layout; one coil that sees everything alike if None.

    Shape:
        image, zero_filled (B, 2, *S); mask (B, 1, *S) or broadcast to it; maps (B, coils, *S, 2). Returns (B, 2, *S).

    Raises:
        ValueError: when mask or maps do not fit the image.

    Example:
        >>> made, given = torch.rand(2, 1, 2, 4, 6)
        >>> torch.allclose(keep_measured(made, given, torch.ones(1, 1, 1, 6)), given, atol=1e-5)
        True

    Notes:
        Fourier transforms are MONAI's, in float32 at least.
    """
    size, dims = tuple(image.shape[2:]), image.dim() - 2
    if mask.dim() != image.dim() or mask.shape[1] != 1:
        raise ValueError(f"mask has shape {tuple(mask.shape)}: give (batch, 1, {size}), or 1 for axes that are alike")
    if maps is None:
        maps = image.new_tensor([1.0, 0.0]).expand(image.shape[0], 1, *size, 2)
    if maps.dim() != image.dim() + 1 or tuple(maps.shape[2:]) != (*size, 2):
        raise ValueError(f"maps has shape {tuple(maps.shape)}: give (batch, coils, {(*size, 2)})")
    with without_autocast(image):
        wide = maps.float() if maps.element_size() < 4 else maps
        made, measured = (
            fftn_centered_t(_times(part.to(wide.dtype).movedim(1, -1).unsqueeze(1), wide), dims)
            for part in (image, zero_filled)
        )
        mixed = torch.where((mask > 0).unsqueeze(-1), measured, made)
        coils = ifftn_centered_t(mixed, dims)
        # the sum over coils of the image times the conjugate map
        combined = _times(coils, wide * wide.new_tensor([1.0, -1.0])).sum(1)
    return saturate(combined.movedim(-1, 1))


def _times(a: Tensor, b: Tensor) -> Tensor:
    """The product of complex numbers held as pairs."""
    real = a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1]
    return torch.stack((real, a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]), -1)
