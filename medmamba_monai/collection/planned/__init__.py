"""Planned bundles: what writes them, trains them, and what their configs call."""

from __future__ import annotations
