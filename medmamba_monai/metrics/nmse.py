"""The error of an image against its energy."""

from __future__ import annotations

from monai.metrics.regression import RegressionMetric
from torch import Tensor


class NMSEMetric(RegressionMetric):
    """Normalised mean squared error: the squared error of an image, divided by the image's sum of squares.

    The fastMRI challenge's measure (arXiv 1811.08839), equation 6; 0 is perfect, an image of zeros gives 1.

    Args:
        reduction: MONAI's reduction over the images of all batches.
        get_not_nans: also give the number of images.

    Shape:
        y_pred and y (B, C, *S); gives one number an image, and `aggregate` their reduction.

    Example:
        >>> import torch
        >>> metric = NMSEMetric()
        >>> metric(0.9 * torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
        tensor([[0.0100]])
    """

    def _compute_metric(self, y_pred: Tensor, y: Tensor) -> Tensor:
        wide, truth = y_pred.double().flatten(1), y.double().flatten(1)
        error: Tensor = (wide - truth).square().sum(1, keepdim=True) / truth.square().sum(1, keepdim=True)
        return error.float()
