"""Metrics that MONAI does not have."""

from __future__ import annotations

from medmamba_monai.metrics.folding import FoldingMetric, jacobian_determinant
from medmamba_monai.metrics.fusion import EntropyMetric, FusionSSIMMetric, MutualInformationMetric, VIFMetric
from medmamba_monai.metrics.nmse import NMSEMetric

__all__ = [
    "EntropyMetric",
    "FoldingMetric",
    "FusionSSIMMetric",
    "MutualInformationMetric",
    "NMSEMetric",
    "VIFMetric",
    "jacobian_determinant",
]
