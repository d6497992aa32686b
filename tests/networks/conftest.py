"""What tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.networks.tracing import Tracer, forget, trace


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    """Traces, of which nothing stays in memory behind the test."""
    yield trace
    forget()
