"""Measures a trained network and stores what was found in a bundle's ``docs``: the work of ``card --record``."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai.benchmark.measure import extra_memory
from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.savers import replacing

__all__ = ["cost", "record", "training"]

Entry = dict[str, Any]
# picture of the evaluation -> picture of the page
PICTURES = {"typical": "good_case.png", "worst": "failure_case.png"}


def record(
    bundle: Bundle, network: str, run: str | None = None, evaluation: str | None = None, peer: str | None = None
) -> None:
    """Stores what one network costs and reached in ``docs/evaluation.json``, its history and pictures beside it.

    What was stored of the network before and is not measured now stays.

    Args:
        bundle: the bundle.
        network: what to call the network.
        run: folder of its training, with ``history.csv``.
        evaluation: folder of its evaluation, with ``metrics.json``.
        peer: configuration of the peer; the bundle's own network without it.

    Raises:
        InputError: when a file is missing, or the name is that of another network.
    """
    file = None if peer is None else _peer_file(bundle, peer)
    stored = dict(bundle.evaluation)
    own = next((name for name, known in stored.items() if "peer" not in known), None)
    if file is not None and network == own:
        raise InputError(f"{network!r} is the name of the bundle's own network: give the peer another --record NETWORK")
    entry: Entry = dict(stored.pop(network if file else own or network, {}))
    if file is not None:
        entry["peer"] = file.name
    if evaluation is not None:
        entry |= _evaluated(Path(evaluation))
    entry |= cost(bundle, file)
    if run is not None:
        entry |= training(Path(run))
        _keep_history(bundle, network, Path(run), file)
    if evaluation is not None and file is None:
        entry["pictures"] = _keep_pictures(bundle, Path(evaluation))
    stored = {network: entry} | stored if file is None else stored | {network: entry}
    with replacing(bundle.evaluation_file) as temporary:
        temporary.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _draw_histories(bundle, stored)


def _peer_file(bundle: Bundle, peer: str) -> Path:
    places = [Path(peer).expanduser(), bundle.root / peer, bundle.root / "configs" / "peers" / peer]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        known = ", ".join(sorted(file.name for file in (bundle.root / "configs" / "peers").glob("*.json"))) or "none"
        raise InputError(f"peer {peer!r} does not exist: the bundle's configs/peers holds {known}")
    return found


def cost(bundle: Bundle, peer: Path | None = None) -> Entry:
    """Returns parameters, latency in seconds and memory in MB of one pass on one CPU thread.

    Args:
        bundle: the bundle.
        peer: configuration that replaces ``network_def``.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(bundle.root / "configs" / "train.json"), *([str(peer)] if peer else [])])
    network: nn.Module = parser.get_parsed_content("network_def").eval()
    image = torch.randn(1, *bundle.input_shape)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            run = _pass(network, image)
            run()
            memory = extra_memory(run)
            latency = statistics.median(_processor_time(run) for _ in range(5))
    finally:
        torch.set_num_threads(threads)
    found: Entry = {"parameters": sum(p.numel() for p in network.parameters()), "latency_seconds": round(latency, 4)}
    return found | {"memory_mb": None if memory is None else round(memory)}


def _pass(network: nn.Module, image: Tensor) -> Callable[[], None]:
    def run() -> None:
        network(image)

    return run


def _processor_time(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def training(run: Path) -> Entry:
    """Returns epochs, the epoch with the best validation metric, that metric, and minutes of a training.

    Args:
        run: folder with ``history.csv``.

    Raises:
        InputError: when the file is missing or holds no validation.
    """
    file = run / "history.csv"
    if not file.is_file():
        raise InputError(f"{run} has no history.csv: give the output_dir of a training with --run")
    with open(file, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    scored = [(float(row["metric"]), int(row["epoch"])) for row in rows if row["metric"]]
    if not scored:
        raise InputError(f"{file} holds no validation metric: train for at least val_interval epochs")
    best, epoch = max(scored, key=lambda pair: pair[0])
    minutes = sum(float(row["seconds"]) for row in rows if row["seconds"]) / 60
    return {
        "epochs": int(rows[-1]["epoch"]),
        "best_epoch": epoch,
        "validation": round(best, 4),
        "training_minutes": round(minutes, 1),
    }


def _evaluated(folder: Path) -> Entry:
    file = folder / "metrics.json"
    if not file.is_file():
        raise InputError(f"{folder} has no metrics.json: give the output_dir of evaluate.json with --evaluation")
    found: Entry = json.loads(file.read_text(encoding="utf-8"))
    return found


def _keep_pictures(bundle: Bundle, evaluation: Path) -> dict[str, str]:
    """Copies the pictures of a typical and the worst case; returns their captions."""
    captions = evaluation / "pictures" / "captions.json"
    if not captions.is_file():
        raise InputError(f"{evaluation} has no pictures/captions.json: run evaluate.json again, its report draws them")
    found: dict[str, str] = json.loads(captions.read_text(encoding="utf-8"))
    for name in found:
        with replacing(bundle.root / "docs" / PICTURES[name]) as temporary:
            shutil.copyfile(evaluation / "pictures" / f"{name}.png", temporary)
    return {PICTURES[name]: caption for name, caption in found.items()}


def _history(bundle: Bundle, peer: str | None) -> Path:
    return bundle.root / "docs" / "histories" / f"{Path(peer).stem if peer else 'own'}.csv"


def _keep_history(bundle: Bundle, network: str, run: Path, peer: Path | None) -> None:
    with replacing(_history(bundle, peer.name if peer else None)) as temporary:
        shutil.copyfile(run / "history.csv", temporary)


def _draw_histories(bundle: Bundle, stored: dict[str, Entry]) -> None:
    from medmamba_monai.collection.history import draw_curves

    files = {name: _history(bundle, entry.get("peer")) for name, entry in stored.items()}
    present = {name.partition(",")[0]: file for name, file in files.items() if file.is_file()}
    if present:
        metric = next(iter(bundle.config("train")["validate"]["key_metric"]))
        draw_curves(present, bundle.root / "docs" / "curves.png", metric.removeprefix("val_").replace("_", " "))
