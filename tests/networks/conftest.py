"""What tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.networks.tracing import Tracer, forget, trace


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    """Traces that run as they were recorded: optimising a graph takes longer than running it, and memory that stays."""
    with torch.jit.optimized_execution(False):
        yield trace
    forget()
