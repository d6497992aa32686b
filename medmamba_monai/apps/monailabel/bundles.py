"""Which bundles the server offers. It works on copies: a training there never changes the published weights."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from medmamba_monai.collection.bundles import CLONE, Bundle, find_bundle
from medmamba_monai.collection.checks import InputError

__all__ = ["served_bundles"]

log = logging.getLogger(__name__)


def served_bundles(model_dir: Path, bundles: str, names: Sequence[str]) -> list[Bundle]:
    """Copies the bundles that are not there yet and returns all that a label server can run.

    Args:
        model_dir: folder of the copies; bundles that were put there by hand are served too.
        bundles: folder of the bundles; empty for that of the clone, or of ``MEDMAMBA_MONAI_BUNDLES``.
        names: names, or parts that only one bundle has; empty for all.

    Raises:
        InputError: a name is unknown, or there is no bundle at all.
    """
    source = Path(bundles or os.environ.get("MEDMAMBA_MONAI_BUNDLES", "") or CLONE).expanduser()
    model_dir.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.glob("*/configs/metadata.json")):
        _copy(Bundle(file.parents[1]), model_dir)
    found = [Bundle(file.parents[1]) for file in sorted(model_dir.glob("*/configs/inference.json"))]
    if not found:
        raise InputError(f"no bundle in {source}: download one, and give --conf bundles FOLDER")
    if names:
        found = [find_bundle(name, model_dir) for name in names]
    return [bundle for bundle in found if _servable(bundle)]


def _copy(bundle: Bundle, model_dir: Path) -> None:
    target = model_dir / bundle.name
    if not target.exists():
        fresh = model_dir / f".{bundle.name}.{os.getpid()}"
        shutil.copytree(bundle.root, fresh, ignore=shutil.ignore_patterns("eval", "last.pt", "data"))
        fresh.rename(target)
        return
    here, there = Bundle(target).metadata.get("version"), bundle.metadata.get("version")
    if here != there:
        log.warning(
            "%s keeps version %s, %s has %s: delete the former to serve the latter", target, here, bundle, there
        )


def _servable(bundle: Bundle) -> bool:
    inputs = bundle.metadata["network_data_format"]["inputs"]
    if not bundle.weights.is_file():
        log.warning("%s is not served: it has no models/model.pt, train or download it first", bundle.name)
        return False
    if len(inputs) != 1:
        log.warning("%s is not served: it reads %s, and clients send one image", bundle.name, ", ".join(inputs))
        return False
    count = "two" if "second" in bundle.config("inference") else ""
    count = {"registration": "two", "dose": "three"}.get(bundle.kind, count)
    if count:
        log.warning("%s is not served: it reads %s files, and clients send one image", bundle.name, count)
        return False
    return True
