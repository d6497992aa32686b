"""``python -m medmamba_monai list``: a table of all bundles, from their metadata and stored evaluations."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmamba_monai.collection.bundles import Bundle, add_bundles_option, all_bundles
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.wording import (
    better,
    between_marks,
    headline,
    interval,
    markdown,
    millions,
    seconds,
    times,
    title,
)

__all__ = ["main", "markdown_table", "with_table"]

HEADER = ("bundle", "task", "network", "data", "on the test list", "this bundle", "best peer", "weights", "CPU latency")
NOT_MEASURED = "not measured yet"


def main(argv: Sequence[str]) -> int:
    """Prints the table, or writes it into a Markdown file; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai list", description=__doc__)
    add_bundles_option(parser)
    parser.add_argument(
        "--markdown",
        metavar="FILE",
        nargs="?",
        const="",
        help="print the table as Markdown, with intervals and links; with FILE, write it between the marks in it",
    )
    options = parser.parse_args(argv)
    bundles = all_bundles(options.bundles)
    if options.markdown is None:
        print(plain_table(bundles))
    elif not options.markdown:
        print(markdown_table(bundles, Path(options.bundles)))
    else:
        _rewrite(Path(options.markdown), bundles)
    return 0


def _rewrite(file: Path, bundles: Sequence[Bundle]) -> None:
    from medmamba_monai.collection.savers import replacing

    if not file.is_file():
        raise InputError(f"{file} does not exist: give a Markdown file that holds the marks of the table")
    new = with_table(file.read_text(encoding="utf-8"), markdown_table(bundles, file.parent))
    with replacing(file) as temporary:
        temporary.write_text(new, encoding="utf-8")


def with_table(text: str, table: str) -> str:
    """Returns the text of a Markdown file with the table between its marks replaced.

    Args:
        text: text of the file.
        table: what shall stand there.

    Raises:
        InputError: the marks are missing.
    """
    command = "python -m medmamba_monai list --markdown FILE"
    new = between_marks(text, "list", command, table)
    if new is None:
        raise InputError(f"the file has no line '<!-- list: {command} -->' with '<!-- end of list -->' after: add both")
    return new


def markdown_table(bundles: Sequence[Bundle], folder: Path) -> str:
    """Returns the table with intervals, and links relative to a folder.

    Args:
        bundles: bundles to list.
        folder: folder of the file that the table is for.
    """
    rows = []
    for bundle in bundles:
        link = Path(os.path.relpath(bundle.card, folder)).as_posix()
        rows.append([f"[{bundle.name}]({link})", *_cells(bundle, full=True)])
    return markdown(HEADER, rows)


def plain_table(bundles: Sequence[Bundle]) -> str:
    """Returns the table for a terminal, without intervals.

    Args:
        bundles: bundles to list.
    """
    rows = [list(HEADER), *([bundle.name, *_cells(bundle, full=False)] for bundle in bundles)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(bundle: Bundle, full: bool) -> list[str]:
    source = bundle.metadata.get("data_source", "")
    modality = bundle.metadata["network_data_format"]["inputs"]["image"].get("modality", "")
    kind = bundle.name.rpartition("_")[2]
    task = bundle.metadata["task"] if full else f"{modality} {kind}".strip()
    data = source.rpartition(", http")[0] or source
    definition = bundle.config("inference")["network_def"]
    # a frame around the network is not what a reader looks for
    network: str = definition.get("network", definition)["_target_"]
    cells = [task, network.rpartition(".")[2], data if full else data.partition(",")[0]]
    return cells + _measured_cells(bundle, full)


def _measured_cells(bundle: Bundle, full: bool) -> list[str]:
    size = f"{bundle.weights.stat().st_size / 1e6:.1f} MB" if bundle.weights.is_file() else "none"
    if not bundle.networks:
        return [NOT_MEASURED, "", "", size, ""]
    own, *peers = bundle.networks.items()
    key = headline(own[1])
    best = best_peer(dict(peers), key)
    text = interval if full else _value
    beside = "none" if best is None else f"{text(best[1]['metrics'][key], key)} {best[0]}"
    weights = ", ".join(part for part in (size, millions(own[1].get("parameters"))) if part)
    latency = seconds(own[1].get("latency_seconds"))
    if full and latency:
        latency += f" ({times(bundle.input_shape[1:])})"
    metric = title(key) + (f", {own[1]['cases']} cases" if full else "")
    return [metric, text(own[1]["metrics"][key], key), beside, weights, latency]


def best_peer(peers: dict[str, dict[str, Any]], metric: str) -> tuple[str, dict[str, Any]] | None:
    """Returns the peer with the best value of a metric, and its evaluation; None without peers.

    Args:
        peers: stored evaluations.
        metric: name of the metric.
    """
    measured = [p for p in peers.items() if p[1]["metrics"].get(metric, {}).get("value") is not None]
    sign = 1 if better(metric, 1.0, 0.0) else -1
    return max(measured, key=lambda peer: sign * float(peer[1]["metrics"][metric]["value"]), default=None)


def _value(number: dict[str, float | None], metric: str) -> str:
    return interval(number, metric).partition(" ")[0]
