"""Weights of others and our own: converting checkpoints, reading files safely, cards of what is shipped."""

from __future__ import annotations

from medmamba_monai.weights.cards import Card, cards
from medmamba_monai.weights.convert import WeightsError, convert
from medmamba_monai.weights.encoder import Loaded, load_encoder
from medmamba_monai.weights.files import load, read

__all__ = ["Card", "Loaded", "WeightsError", "cards", "convert", "load", "load_encoder", "read"]
