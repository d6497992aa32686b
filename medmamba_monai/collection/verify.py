"""``python -m medmamba_monai verify``: every rule of a standard MONAI bundle, on one bundle or all, offline."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmamba_monai.collection import rules
from medmamba_monai.collection.bundles import Bundle, add_bundles_option, all_bundles, find_bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.unpack import unpack

__all__ = ["RULES", "Rule", "main", "verify"]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        name: word for the report.
        about: what holds when there is no fault.
        check: gives the faults of a bundle; the folder is empty, to write to.
        slow: starts whole runs, so that it is left out unless asked for.
    """

    name: str
    about: str
    check: Callable[[Bundle, Path], Iterable[str]]
    slow: bool = False


def _read(check: Callable[[Bundle], Iterable[str]]) -> Callable[[Bundle, Path], Iterable[str]]:
    return lambda bundle, folder: check(bundle)


def _trial(name: str) -> Callable[[Bundle, Path], Iterable[str]]:
    def check(bundle: Bundle, folder: Path) -> Iterable[str]:
        from medmamba_monai.collection import trials

        found: Iterable[str] = getattr(trials, name)(bundle, folder)
        return found

    return check


RULES = (
    Rule("layout", "the files of a standard bundle, none over 25 MB", _read(rules.layout)),
    Rule("name", "a name that MONAI does not cut", _read(rules.name)),
    Rule("versions", "versions that MONAI can sort, a changelog, exact packages", _read(rules.versions)),
    Rule("schema", "metadata follow MONAI's schema", _read(rules.schema)),
    Rule("tensors", "image in, pred out, all channels named", _read(rules.tensors)),
    Rule("targets", "configurations name installed code only", _read(rules.targets)),
    Rule("house", "configurations are written like those of the collection", _read(rules.houses)),
    Rule("label server", "MONAI Label can serve it", _read(rules.label_server)),
    Rule("published", "a downloaded bundle is as published", _read(rules.published)),
    Rule("weights", "weights load without running code, strictly, and are finite", _trial("weights")),
    Rule("shapes", "the network keeps the shapes of the metadata", _trial("shapes")),
    Rule("ids", "train, evaluate and inference have MONAI's ids", _trial("ids")),
    Rule("export", "the TorchScript export equals the network", _trial("export")),
    Rule("runs", "it trains, evaluates and infers in a foreign folder", _trial("runs"), slow=True),
)


def main(argv: Sequence[str]) -> int:
    """Prints a line for each rule and bundle; returns 1 when there was a fault.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai verify", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundles, their folders or zip files (default: all)")
    parser.add_argument("--run", action="store_true", help="also train an epoch, evaluate and infer, on made-up images")
    add_bundles_option(parser)
    options = parser.parse_args(argv)
    chosen = options.names or [bundle.name for bundle in all_bundles(options.bundles)]
    faulty = 0
    for name in chosen:
        with _opened(name, options.bundles) as bundle:
            faulty += _report(bundle, options.run)
    print(f"{len(chosen)} bundles checked, {faulty} with faults")
    return 1 if faulty else 0


def _report(bundle: Bundle, run: bool) -> bool:
    print(f"{bundle.name} {bundle.metadata.get('version', '')}")
    sound = True
    for rule in RULES:
        if rule.slow and not run:
            continue
        faults = verify(bundle, rule)
        print(f"  {'fault' if faults else 'ok':<6}{rule.name:<13}{'' if faults else rule.about}", flush=True)
        for fault in faults:
            print(f"        {fault}")
        sound = sound and not faults
    return not sound


def verify(bundle: Bundle, rule: Rule) -> list[str]:
    """Applies one rule and returns its faults; whatever is raised is a fault too.

    Args:
        bundle: the bundle.
        rule: the rule.
    """
    found: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _silence():
        try:
            found.extend(rule.check(bundle, Path(folder)))
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split()) or "no reason given"
            plain = isinstance(error, (InputError, SystemExit))
            found.append((text if plain else f"{type(error).__name__}: {text}")[:300])
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """MONAI prints much; the report is what the user asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            with contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _opened(name: str, bundles: str) -> Iterator[Bundle]:
    """Gives the bundle of a name, of a folder, or of a zip file that ``package`` wrote."""
    path = Path(name).expanduser()
    if path.suffix == ".zip":
        match = re.fullmatch(r"(\w+)_v(\d\.\d\.\d)\.zip", path.name)
        if match is None or not path.is_file():
            raise InputError(f"{name} is no file called <name>_v<version>.zip: give one that package wrote")
        with tempfile.TemporaryDirectory() as folder:
            bundle = Bundle(unpack(path, match[1], Path(folder) / match[1]))
            if bundle.metadata.get("version") != match[2]:
                raise InputError(f"{name} holds version {bundle.metadata.get('version')!r}: package it again")
            yield bundle
    elif (path / "configs" / "metadata.json").is_file():
        yield Bundle(path.resolve())
    else:
        yield find_bundle(name, bundles)
