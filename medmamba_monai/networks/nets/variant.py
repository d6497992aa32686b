"""A published size of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Variant(NamedTuple):
    """Constructor arguments of a published network, and its number of parameters with them."""

    arguments: Mapping[str, Any]
    parameters: int
