"""``python -m medmamba_monai networks``: every network, from its class: paper, licence, sizes, notes."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Sequence
from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.wording import between_marks, markdown, millions
from medmamba_monai.networks import nets
from medmamba_monai.networks.nets.variant import PublishedNetwork

__all__ = ["main", "page", "with_page"]

COMMAND = "python -m medmamba_monai networks --markdown FILE"


def main(argv: Sequence[str]) -> int:
    """Prints the list, or writes it into a Markdown file; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai networks", description=__doc__)
    parser.add_argument("--markdown", metavar="FILE", help="write the page between the marks in a Markdown file")
    options = parser.parse_args(argv)
    if options.markdown is None:
        width = max(len(name) for name in nets.__all__)
        print("\n".join(f"{name:<{width}}  {_summary(_network(name))}" for name in _names()))
    else:
        _rewrite(Path(options.markdown))
    return 0


def _rewrite(file: Path) -> None:
    from medmamba_monai.collection.savers import replacing

    if not file.is_file():
        raise InputError(f"{file} does not exist: give a Markdown file that holds the marks of the page")
    new = with_page(file.read_text(encoding="utf-8"))
    with replacing(file) as temporary:
        temporary.write_text(new, encoding="utf-8")


def with_page(text: str) -> str:
    """Returns the text of a Markdown file with the list of networks between its marks.

    Args:
        text: text of the file.

    Raises:
        InputError: the marks are missing.
    """
    new = between_marks(text, "networks", COMMAND, page())
    if new is None:
        raise InputError(f"the file has no line '<!-- networks: {COMMAND} -->' with '<!-- end of networks -->' after")
    return new


def page() -> str:
    """Returns the list of networks as Markdown: a table of all, then a section each."""
    rows = []
    for name in _names():
        network = _network(name)
        counts = [variant.parameters for variant in network.variants.values()]
        sizes = (
            " to ".join(dict.fromkeys(filter(None, (millions(min(counts)), millions(max(counts)))))) if counts else ""
        )
        rows.append(
            [
                f"[{name}](#{name.lower()})",
                _summary(network),
                sizes or "any",
                re.split("[:;]", network.source.licence)[0],
            ]
        )
    table = markdown(("network", "what it does", "published sizes", "licence of the authors' code"), rows)
    return "\n\n".join([f"{len(rows)} networks.", table, *(_section(name) for name in _names())])


def _section(name: str) -> str:
    network = _network(name)
    source = network.source
    code = re.sub(r"^(https://\S+)", r"<\1>", source.code)
    facts = [("paper", source.paper), ("code", code), ("licence of that code", source.licence)]
    facts.append(("verified", source.verified))
    parts = [f"## {name}", _summary(network), "\n".join(f"- {key}: {value}" for key, value in facts)]
    if network.variants:
        rows = [
            [f"`{key}`", f"{variant.parameters:,}", ", ".join(f"{k}={v!r}" for k, v in variant.arguments.items())]
            for key, variant in network.variants.items()
        ]
        parts.append(markdown(("`from_variant`", "parameters", "arguments"), rows))
    return "\n\n".join([*parts, *_notes(network)])


def _names() -> list[str]:
    return sorted(nets.__all__, key=str.lower)


def _network(name: str) -> type[PublishedNetwork]:
    network: type[PublishedNetwork] = getattr(nets, name)
    return network


def _summary(network: type[PublishedNetwork]) -> str:
    return (inspect.getdoc(network) or "").partition("\n")[0]


def _notes(network: type[PublishedNetwork]) -> list[str]:
    """The paragraphs of the docstring's notes, which tell deviations, each on one line."""
    _, found, notes = (inspect.getdoc(network) or "").partition("\nNotes:\n")
    paragraphs = inspect.cleandoc(notes).split("\n\n") if found else []
    return [" ".join(paragraph.split()).replace("``", "`") for paragraph in paragraphs]
