"""Self-configuration: from the fingerprint of a data set to a plan of preprocessing, network and training."""

from __future__ import annotations
