"""Metrics that MONAI does not have."""

from __future__ import annotations

from medmamba_monai.metrics.folding import FoldingMetric, jacobian_determinant

__all__ = ["FoldingMetric", "jacobian_determinant"]
