"""The loss of fusion, compared with its equation written plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import SSIMLoss
from scipy.ndimage import correlate

from medmamba_monai.losses import FusionLoss

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def slope(image: torch.Tensor) -> np.ndarray:
    plain = image.double().numpy()
    return sum(abs(correlate(plain, kernel, mode="constant")) for kernel in (SOBEL, SOBEL.T))


def test_the_loss_follows_its_equation() -> None:
    torch.manual_seed(0)
    fused, both = torch.rand(1, 1, 16, 20), torch.rand(1, 2, 16, 20)
    intensity = (fused[:, 0] - both.max(1).values).square().mean().item()
    gradient = abs(slope(fused[0, 0]) - np.maximum(slope(both[0, 0]), slope(both[0, 1]))).mean()
    structure = sum(SSIMLoss(2)(fused, both[:, i : i + 1]).item() for i in range(2)) / 2
    assert FusionLoss(1, 0, 0)(fused, both).item() == pytest.approx(intensity, rel=1e-5)
    assert FusionLoss(0, 1, 0)(fused, both).item() == pytest.approx(gradient, rel=1e-5)
    assert FusionLoss(0, 0, 1)(fused, both).item() == pytest.approx(structure, rel=1e-5)
    whole = FusionLoss()(fused, both).item()
    assert whole == pytest.approx(10 * intensity + gradient + 10 * structure, rel=1e-5)


def test_the_gradient_reaches_the_fused_image() -> None:
    fused = torch.rand(2, 1, 16, 16, requires_grad=True)
    FusionLoss()(fused, torch.rand(2, 2, 16, 16)).backward()
    assert fused.grad is not None and fused.grad.abs().min() > 0


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="both images as"):
        FusionLoss()(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
