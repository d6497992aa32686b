"""Where a displacement folds space: the determinant of its Jacobian, and the share of voxels where it is negative."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction
from torch import Tensor


def jacobian_determinant(ddf: Tensor) -> Tensor:
    """The local change of volume that a displacement makes: 1 is none, 0 or less a fold.

    The determinant of the identity plus the gradient of the displacement, by central differences, one-sided at the
    borders, as VoxelMorph (arXiv 1809.05231) measures it.

    Args:
        ddf: displacement in voxels, as MONAI's Warp takes it.

    Shape:
        ddf (B, axes, *S) with 2 or 3 axes; returns (B, *S).

    Raises:
        ValueError: when the shape does not fit.

    Example:
        >>> jacobian_determinant(torch.zeros(1, 2, 3, 4)).unique().tolist()
        [1.0]
    """
    axes = ddf.dim() - 2
    if axes not in (2, 3) or ddf.shape[1] != axes:
        raise ValueError(f"the displacement has shape {tuple(ddf.shape)}: give (batch, 2, H, W) or (batch, 3, D, H, W)")
    wide = ddf.float() if ddf.element_size() < 4 else ddf
    columns = []
    for axis in range(2, 2 + axes):
        # a single slice has no neighbour to differ from
        flat = wide.shape[axis] == 1
        columns.append(torch.zeros_like(wide) if flat else torch.gradient(wide, dim=axis)[0])
    jacobian = torch.stack(columns, -1).movedim(1, -2) + torch.eye(axes, dtype=wide.dtype, device=wide.device)
    determinant: Tensor = torch.linalg.det(jacobian)
    return determinant


class FoldingMetric(CumulativeIterationMetric):
    """The share of voxels where a displacement folds: where the determinant of its Jacobian is 0 or less.

    VMambaMorph (arXiv 2404.05105), table 1 (there in percent).

    Args:
        reduction: MONAI's reduction over the pairs of all batches.

    Shape:
        y_pred (B, axes, *S), displacements in voxels; gives one number a pair, and `aggregate` their reduction.

    Raises:
        ValueError: when the shape does not fit.

    Example:
        >>> metric = FoldingMetric()
        >>> _ = metric(torch.zeros(2, 2, 4, 4))
        >>> metric.aggregate().item()
        0.0
    """

    def __init__(self, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__()
        self.reduction = reduction

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        return (jacobian_determinant(y_pred) <= 0).flatten(1).float().mean(1, keepdim=True)

    def aggregate(self, reduction: MetricReduction | str | None = None) -> Tensor:
        """The reduction over all pairs since the last `reset`."""
        data = self.get_buffer()  # type: ignore[no-untyped-call]
        if not isinstance(data, Tensor):
            raise ValueError("there are no displacements yet: call the metric before aggregate")
        reduced: Tensor = do_metric_reduction(data, reduction or self.reduction)[0]
        return reduced
