"""MONAI Label looks for a subclass of its app in this file of the app's folder."""

from __future__ import annotations

from medmamba_monai.apps.monailabel.app import BundleApp

__all__ = ["BundleApp"]
