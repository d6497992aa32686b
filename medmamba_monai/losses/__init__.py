"""Losses that MONAI does not have."""

from __future__ import annotations

from medmamba_monai.losses.survival import SurvivalLoss, survival_curve, survival_interval, survival_risk
from medmamba_monai.losses.uncertainty import UncertaintyWeightedLoss

__all__ = ["SurvivalLoss", "UncertaintyWeightedLoss", "survival_curve", "survival_interval", "survival_risk"]
