"""Mamba networks for medical images, as MONAI networks and MONAI bundles."""

from __future__ import annotations

__version__ = "0.1.0"
