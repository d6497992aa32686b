"""``python -m medmamba_monai show NAME``: what a bundle does, takes, gives and reached, and how to run it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from medmamba_monai.collection.bundles import Bundle, add_bundles_option, find_bundle
from medmamba_monai.collection.wording import headline, interval, millions, seconds, times, title

# what inference reads where it is more than an image
FILES = {
    "dose": "--image CT --organs MAP --targets MAP",
    "fusion": "--image MR --second IMAGE",
    "registration": "--fixed IMAGE --moving IMAGE",
}

__all__ = ["commands", "explain", "main"]


def main(argv: Sequence[str]) -> int:
    """Prints the explanation and returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai show", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="name of a bundle, or a part that only one has")
    add_bundles_option(parser)
    options = parser.parse_args(argv)
    print(explain(find_bundle(options.name, options.bundles)))
    return 0


def explain(bundle: Bundle) -> str:
    """Returns what there is to know about a bundle before using it.

    Args:
        bundle: the bundle.
    """
    meta = bundle.metadata
    facts = [
        ("task", meta["task"]),
        ("input", meta.get("image_classes", "")),
        ("output", meta.get("pred_classes", "")),
        ("about", meta["description"]),
        *_measured(bundle),
        ("licence", f"code and weights: {_code_licence(bundle)}"),
        ("", f"data: {_data_licence(bundle)}"),
        ("data", meta.get("data_source", "")),
        ("use", meta.get("intended_use", "")),
        ("page", str(bundle.card)),
    ]
    lines = [f"{bundle.name} {meta['version']}", ""]
    for word, text in facts:
        if text:
            lines += textwrap.wrap(text, 110, initial_indent=f"{word:<11}", subsequent_indent=" " * 11)
    lines += ["", "commands"]
    for what, command in commands(bundle).items():
        lines += [f"  {what}:", f"    {command}"]
    return "\n".join(lines)


def _measured(bundle: Bundle) -> list[tuple[str, str]]:
    if not bundle.networks:
        return [
            ("measured", f"nothing stored yet: evaluate it, then python -m medmamba_monai card {bundle.name} --record")
        ]
    (name, own), *peers = bundle.networks.items()
    key = headline(own)
    latency = seconds(own.get("latency_seconds"))
    size = times(bundle.input_shape[1:])
    network = [millions(own.get("parameters")) + " parameters"] if "parameters" in own else []
    network += [f"{latency} for an input of {size} on one CPU thread"] if latency else []
    facts = [("network", ", ".join([name, *network]))]
    facts.append(("measured", f"{title(key)} {interval(own['metrics'][key], key)} on {own['cases']} test cases"))
    facts += [
        ("peer" if number == 0 else "", f"{peer}: {interval(found['metrics'].get(key), key)}")
        for number, (peer, found) in enumerate(peers)
    ]
    return [*facts, ("interval", own["interval"])]


def _code_licence(bundle: Bundle) -> str:
    text = _text(bundle.root / "LICENSE")
    return "Apache-2.0" if "Apache License" in text and "Version 2.0" in text else "see LICENSE"


def _data_licence(bundle: Bundle) -> str:
    """The sentence of ``docs/data_license.txt`` that names the licence."""
    text = " ".join(_text(bundle.root / "docs" / "data_license.txt").split())
    _, named, rest = text.partition("Licence: ")
    return rest.split(". ")[0].split(" http")[0].rstrip(".") if named else "see docs/data_license.txt"


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def commands(bundle: Bundle) -> dict[str, str]:
    """Returns the command lines of a bundle by purpose.

    Args:
        bundle: the bundle.
    """
    here = Path.cwd()
    root = bundle.root.relative_to(here) if bundle.root.is_relative_to(here) else bundle.root
    configs = root / "configs"
    run = f"python -m monai.bundle run --bundle_root {root} --config_file"
    train, evaluate = configs / "train.json", configs / "evaluate.json"
    inference = f"{run} {configs / 'inference.json'}"
    one = "one pair" if bundle.kind in ("fusion", "registration") else "one image"
    return {
        one: f"{inference} {FILES.get(bundle.kind, '--image IMAGE')} --output_dir OUT --overlay true",
        "a folder of images": f"{inference} --dataset_dir FOLDER --output_dir OUT",
        "training": f"{run} {train} --dataset_dir DATA",
        "evaluation": f"{run} \"['{train}','{evaluate}']\" --dataset_dir DATA --output_dir OUT",
    }
