"""``python -m medmamba_monai results``: the README's table, from the evaluations that the bundles store."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.savers import replacing

# the number that stands for a bundle -> what a reader calls it; a larger one is better
HEADLINES = {"dice_mean": "mean Dice", "auc_macro": "macro AUC"}
BEGIN, END = "<!-- results: python -m medmamba_monai results --readme README.md -->", "<!-- end of results -->"


def main(argv: Sequence[str]) -> int:
    """Print the table, or write it into a README; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai results", description=__doc__)
    clone = Path(__file__).resolve().parents[2] / "bundles"
    parser.add_argument("--bundles", metavar="FOLDER", default=str(clone), help="folder of the bundles")
    parser.add_argument("--readme", metavar="FILE", help="replace the table between the two marks in this file")
    options = parser.parse_args(argv)
    text = table(Path(options.bundles))
    if options.readme is None:
        print(text)
        return 0
    readme = Path(options.readme)
    new = with_table(readme.read_text(encoding="utf-8"), text)
    with replacing(readme) as temporary:
        temporary.write_text(new, encoding="utf-8")
    return 0


def table(folder: Path) -> str:
    """The test results of every bundle beside its best peer, as a Markdown table.

    Each bundle's ``docs/evaluation.json`` maps networks to the ``metrics.json`` of their evaluation, its own first.

    Raises:
        InputError: no bundle has a stored evaluation.
    """
    files = sorted(folder.glob("*/docs/evaluation.json"))
    if not files:
        raise InputError(f"no */docs/evaluation.json in {folder}: run from a clone, or give --bundles FOLDER")
    lines = ["| bundle | on the test list | this bundle | best MONAI peer |", "|---|---|---|---|"]
    for file in files:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        own, *peers = found
        key = next(key for key in HEADLINES if key in found[own]["metrics"])
        name = file.parents[1].name
        best = max(peers, key=lambda peer: float(found[peer]["metrics"][key]["value"]), default=None)
        beside = "none" if best is None else f"{_number(found[best]['metrics'][key])}, {best}"
        metric = f"{HEADLINES[key]}, {found[own]['cases']} cases"
        mine = _number(found[own]["metrics"][key])
        lines.append(f"| [{name}](bundles/{name}/docs/README.md) | {metric} | {mine} | {beside} |")
    return "\n".join(lines)


def with_table(readme: str, text: str) -> str:
    """The README with the text between its marks replaced.

    Raises:
        InputError: the marks are missing.

    Example:
        >>> with_table(f"a {BEGIN} old {END} b", "new") == f"a {BEGIN}\\nnew\\n{END} b"
        True
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"the file has no line {BEGIN!r} with {END!r} after it: add both")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def _number(entry: dict[str, float]) -> str:
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
