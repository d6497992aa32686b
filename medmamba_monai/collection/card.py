"""``python -m medmamba_monai card NAME``: writes the measured parts of a bundle's page and its metadata.

They come from ``docs/evaluation.json``. With ``--record`` a network is measured first and stored there: parameters,
latency and memory on one CPU thread, the training of ``--run`` and the evaluation of ``--evaluation``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import textwrap
from collections.abc import Sequence
from typing import Any

from medmamba_monai.collection.bundles import Bundle, add_bundles_option, find_bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.listing import best_peer
from medmamba_monai.collection.wording import (
    COLOUR_WORDS,
    Sorted,
    better,
    between_marks,
    headline,
    interval,
    markdown,
    millions,
    seconds,
    sort_metrics,
    times,
    title,
)

__all__ = ["eval_metrics", "main", "measured", "page", "summary", "write_card"]

Entry = dict[str, Any]
Evaluation = dict[str, Entry]


def main(argv: Sequence[str]) -> int:
    """Writes the card, after recording a network when asked; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    options = _parser().parse_args(argv)
    bundle = find_bundle(options.name, options.bundles)
    if options.record is not None:
        from medmamba_monai.collection.record import record

        record(bundle, options.record, options.run, options.evaluation, options.peer)
        bundle = Bundle(bundle.root)
        if not bundle.networks:
            print(f"recorded; {bundle.card} is written when the bundle's own network is evaluated, too")
            return 0
    write_card(bundle)
    print(f"{bundle.card}: {summary(bundle)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m medmamba_monai card", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="name of a bundle, or a part that only one has")
    parser.add_argument("--record", metavar="NETWORK", help="what to call the network in the tables")
    parser.add_argument("--run", metavar="FOLDER", help="output of its training, with history.csv")
    parser.add_argument(
        "--evaluation", metavar="FOLDER", help="output of its evaluation, with metrics.json and pictures/"
    )
    parser.add_argument(
        "--peer", metavar="FILE", help="the peer's configuration; without it NETWORK is the bundle's own"
    )
    add_bundles_option(parser)
    return parser


def write_card(bundle: Bundle) -> None:
    """Writes the measured parts of ``docs/README.md`` and ``eval_metrics`` of ``configs/metadata.json``.

    Args:
        bundle: the bundle.

    Raises:
        InputError: when nothing is stored, or the page lacks the marks.
    """
    from medmamba_monai.collection.savers import replacing

    text = page(bundle, bundle.card.read_text(encoding="utf-8") if bundle.card.is_file() else "")
    metadata = bundle.metadata | {"eval_metrics": eval_metrics(bundle)}
    with replacing(bundle.card) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with replacing(bundle.root / "configs" / "metadata.json") as temporary:
        temporary.write_text(json.dumps(metadata, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def page(bundle: Bundle, text: str) -> str:
    """Returns the text of a page with its measured parts replaced.

    Args:
        bundle: the bundle.
        text: the page so far.

    Raises:
        InputError: when nothing is stored, or the page lacks the marks.
    """
    command = f"python -m medmamba_monai card {bundle.name}"
    for name, new in (("summary", summary(bundle)), ("measured", measured(bundle))):
        replaced = between_marks(text, name, command, new)
        if replaced is None:
            raise InputError(
                f"{bundle.card} has no line '<!-- {name}: {command} -->' with '<!-- end of {name} -->' after: add both"
            )
        text = replaced
    return text


def eval_metrics(bundle: Bundle) -> dict[str, float]:
    """Returns the bundle's own values for ``metadata.json``.

    Args:
        bundle: the bundle.
    """
    metrics = _own(bundle)[1]["metrics"]
    return {name: number["value"] for name, number in metrics.items() if number["value"] is not None}


def _own(bundle: Bundle) -> tuple[str, Entry]:
    networks = bundle.networks
    if not networks:
        raise InputError(
            f"{bundle.name} has no stored evaluation: run evaluate.json with --output_dir OUT, then "
            f"python -m medmamba_monai card {bundle.name} --record NETWORK --run TRAINING --evaluation OUT"
        )
    return next(iter(networks.items()))


def summary(bundle: Bundle) -> str:
    """Returns one or two sentences: the value, its interval, and how it stands beside the peers.

    Args:
        bundle: the bundle.

    Raises:
        InputError: when nothing is stored.
    """
    name, own = _own(bundle)
    key = headline(own)
    network = name.partition(",")[0]
    mine, cases = interval(own["metrics"][key], key), f"the {own['cases']} cases of the test list"
    peers = {peer: found for peer, found in bundle.networks.items() if peer != name}
    numbers = {peer: found["metrics"][key] for peer, found in peers.items() if found["metrics"].get(key)}
    ahead = [peer for peer, number in numbers.items() if better(key, number["value"], own["metrics"][key]["value"])]
    if ahead:
        theirs = " and ".join(interval(numbers[peer], key) for peer in ahead)
        verb = "beats" if len(ahead) == 1 else "beat"
        text = f"{' and '.join(ahead)} {verb} this bundle on {cases}: {title(key)} {theirs}, {network} {mine}."
    else:
        best = best_peer(peers, key)
        beside = f"; the best peer, {best[0]}, reaches {interval(numbers[best[0]], key)}" if best else ""
        text = f"{title(key)[0].upper()}{title(key)[1:]} of {network} on {cases}: {mine}{beside}."
    overlap = [
        p
        for p, n in numbers.items()
        if n["high"] >= own["metrics"][key]["low"] and n["low"] <= own["metrics"][key]["high"]
    ]
    if numbers:
        text += " The intervals overlap." if len(overlap) == len(numbers) else ""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def measured(bundle: Bundle) -> str:
    """Returns the measured part of the page: tables of the networks, classes and sites, and the pictures.

    Args:
        bundle: the bundle.

    Raises:
        InputError: when nothing is stored.
    """
    _, own = _own(bundle)
    networks = bundle.networks
    found = sort_metrics(own["metrics"], bundle.classes)
    parts = [f"{own['cases']} cases in {own['groups']} groups; value and interval ({own['interval']})."]
    parts.append(_networks(bundle, networks, found))
    parts.append(_footnote(bundle, own))
    parts += _breakdowns(networks, found)
    parts += _pictures(bundle, own)
    return "\n\n".join(part for part in parts if part)


def _networks(bundle: Bundle, networks: Evaluation, found: Sorted) -> str:
    metric = next(iter(bundle.config("train")["validate"]["key_metric"]))
    checked = f"validation ({metric.removeprefix('val_').replace('_', ' ')})"
    header = ["network", "parameters", "epochs (kept)", *(title(name) for name in found.whole), checked]
    rows = []
    for name, entry in networks.items():
        epochs = f"{entry['epochs']} ({entry['best_epoch']})" if "epochs" in entry else ""
        validation = f"{entry['validation']:.3f}" if "validation" in entry else ""
        memory = f"{entry['memory_mb']:.0f} MB" if entry.get("memory_mb") is not None else ""
        training = f"{entry['training_minutes']:.0f} min" if "training_minutes" in entry else ""
        numbers = [interval(entry["metrics"].get(metric), metric) for metric in found.whole]
        cells = [millions(entry.get("parameters")), epochs, *numbers, validation]
        rows.append([name, *cells, seconds(entry.get("latency_seconds")), memory, training])
    return markdown([*header, "latency", "memory", "training"], rows)


def _footnote(bundle: Bundle, own: Entry) -> str:
    if "latency_seconds" not in own:
        return ""
    size = times(bundle.input_shape[1:])
    text = (
        f"Latency: processor time of one pass of a {size} input on one CPU thread, median of 5; memory: what that pass "
        "adds to the process at its peak; training: wall clock."
    )
    return textwrap.fill(text, 118)


def _breakdowns(networks: Evaluation, found: Sorted) -> list[str]:
    """Tables by class, every network for the first measure, this bundle alone for the others; then tables by site."""
    tables = []
    own = next(iter(networks.values()))["metrics"]
    if found.by_class:
        first, *others = found.by_class
        names = [(network, entry["metrics"]) for network, entry in networks.items()]
        header = ["class", *(f"{title(first)}, {n.partition(',')[0]}" for n, _ in names)]
        header += [f"{title(measure)}, this bundle" for measure in others]
        rows = [
            [word, *(interval(metrics.get(metric), metric) for _, metrics in names)]
            + [interval(own.get(found.by_class[measure].get(word, "")), measure) for measure in others]
            for word, metric in found.by_class[first].items()
        ]
        tables.append(markdown(header, rows))
    for whole, sites in found.by_site.items():
        header = ["site", *(f"{title(whole)}, {network.partition(',')[0]}" for network in networks)]
        rows = [
            [site, *(interval(entry["metrics"].get(metric), metric) for entry in networks.values())]
            for site, metric in sites.items()
        ]
        tables.append(markdown(header, rows))
    return tables


def _pictures(bundle: Bundle, own: Entry) -> list[str]:
    docs, parts = bundle.root / "docs", []
    if (docs / "curves.png").is_file():
        parts.append("Learning curves:\n\n![Learning curves](curves.png)")
    if (docs / "failure_case.png").is_file():
        about = own.get("pictures", {}).get("failure_case.png")
        text = "The worst case of the test list" + (f", {about}" if about else "") + _colours(bundle, own) + ":"
        parts.append(f"{textwrap.fill(text, 118)}\n\n![The worst case of the test list](failure_case.png)")
    return parts


def _colours(bundle: Bundle, own: Entry) -> str:
    if not headline(own).startswith("dice"):
        return ""
    pairs = zip(bundle.classes, itertools.cycle(COLOUR_WORDS))
    return "; outlines: " + ", ".join(f"{name} {colour}" for name, colour in pairs)
