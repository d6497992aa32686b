"""Groups of heart disease from the volumes of the labelled parts: logistic regression, the plain rival of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["VolumeRegression", "heart_ratios"]

RIGHT, MUSCLE, LEFT = 1, 2, 3  # numbers of the parts in ACDC's label maps
FEATURES = 8


def heart_ratios(labels: Tensor) -> Tensor:
    """Eight numbers of a heart, none of which needs the size of a voxel but for a constant.

    The logarithms of the three volumes at end diastole, counted in voxels; the ejection fractions of the left and the
    right ventricle; the ratios of muscle to left ventricle in both phases, and of the right to the left ventricle.

    Args:
        labels: label maps at end diastole and end systole; 1 right ventricle, 2 muscle, 3 left ventricle.

    Shape:
        labels (B, 2, *S); returns (B, 8).

    Example:
        >>> heart = torch.tensor([[[1, 2, 3, 3], [1, 2, 3, 0]]])
        >>> [round(x, 2) for x in heart_ratios(heart)[0].tolist()]
        [0.69, 0.69, 1.1, 0.5, 0.0, 0.5, 1.0, 0.5]
    """
    counts = torch.stack([(labels.round() == part).flatten(2).sum(-1) for part in (RIGHT, MUSCLE, LEFT)], -1).float()
    early, late = (counts[:, phase].unbind(-1) for phase in (0, 1))
    (right, muscle, left), (right_late, muscle_late, left_late) = early, late
    # a part that is missing counts as one voxel
    left_one, late_one, right_one = (part.clamp_min(1) for part in (left, left_late, right))
    ratios = [1 - left_late / left_one, 1 - right_late / right_one]
    ratios += [muscle / left_one, muscle_late / late_one, right / left_one]
    return torch.stack([*(part.log1p() for part in (right, muscle, left)), *ratios], -1)


class VolumeRegression(nn.Module):
    """Multinomial logistic regression on :func:`heart_ratios`, standardised by the training cases.

    Args:
        num_classes: number of groups.

    Shape:
        labels (B, 2, *S); returns (B, num_classes).

    Example:
        >>> VolumeRegression(5).eval()(torch.zeros(2, 2, 4, 4, 3)).shape
        torch.Size([2, 5])
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm1d(FEATURES, affine=False)
        self.linear = nn.Linear(FEATURES, num_classes)

    def forward(self, labels: Tensor) -> Tensor:
        found: Tensor = self.linear(self.standard(heart_ratios(labels)))
        return found
