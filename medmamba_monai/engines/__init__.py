"""Parts for MONAI's trainers: networks side by side, and batches with hidden patches."""

from __future__ import annotations

from medmamba_monai.engines.masked import PrepareMaskedBatch, Reconstructor
from medmamba_monai.engines.views import Views

__all__ = ["PrepareMaskedBatch", "Reconstructor", "Views"]
