"""Losses that MONAI does not have."""

from __future__ import annotations

from medmamba_monai.losses.fusion import FusionLoss
from medmamba_monai.losses.masked_image import MaskedImageLoss
from medmamba_monai.losses.pseudo_labels import CrossPseudoLoss, ScribbleLoss, ramp_up
from medmamba_monai.losses.registration import RegistrationLoss
from medmamba_monai.losses.survival import SurvivalLoss, survival_curve, survival_interval, survival_risk
from medmamba_monai.losses.uncertainty import UncertaintyWeightedLoss

__all__ = [
    "CrossPseudoLoss",
    "FusionLoss",
    "MaskedImageLoss",
    "RegistrationLoss",
    "ScribbleLoss",
    "SurvivalLoss",
    "UncertaintyWeightedLoss",
    "ramp_up",
    "survival_curve",
    "survival_interval",
    "survival_risk",
]
