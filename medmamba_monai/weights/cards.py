"""What weights are shipped: their source, licence, checksum and measured quality, read from the bundles."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple


class Card(NamedTuple):
    """One shipped file of weights."""

    bundle: str
    version: str
    source: str
    licence: str
    metric: str
    file: Path
    sha256: str


def cards(root: str | os.PathLike[str]) -> list[Card]:
    """List the weights of all bundles in a folder, sorted by name.

    Args:
        root: folder that holds bundles, each with ``configs/metadata.json`` and ``models/model.pt``. A bundle without
            weights is left out.

    Raises:
        ValueError: when the folder does not exist or a metadata file is no JSON.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     cards(empty)
        []
    """
    folder = Path(root)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the folder that holds the bundles")
    found = []
    for weights in sorted(folder.glob("*/models/model.pt")):
        metadata = weights.parents[1] / "configs" / "metadata.json"
        if metadata.is_file():
            found.append(_card(weights, metadata))
    return found


def _card(weights: Path, metadata: Path) -> Card:
    try:
        facts: dict[str, Any] = json.loads(metadata.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{metadata} is no JSON ({error}): mend it") from None
    return Card(
        bundle=weights.parents[1].name,
        version=str(facts.get("version", "")),
        source=str(facts.get("data_source", "")),
        licence=str(facts.get("copyright", "")),
        metric=json.dumps(facts.get("eval_metrics", {})),
        file=weights,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
