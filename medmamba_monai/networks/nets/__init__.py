"""Whole networks, one file a family."""

from __future__ import annotations

from medmamba_monai.networks.nets.medmamba import MedMamba
from medmamba_monai.networks.nets.umamba import UMamba

__all__ = ["MedMamba", "UMamba"]
