"""Every system of the survey has a row in docs/coverage.md, and what the rows say is so."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from medmamba_monai.networks import nets
from tests.oracles import adapters

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coverage.md"
ORACLES = ROOT / "tests" / "oracles"
SURVEY = ROOT.parent / "shared" / "reference" / "survey_systems.md"


class Row(NamedTuple):
    system: str
    paper: str
    here: str
    verified: str

    def names(self) -> list[str]:
        """Names of the package in the third column: networks, or parts by their dotted path."""
        return [quoted.partition("(")[0] for quoted in re.findall(r"`([^`]+)`", self.here)]

    def networks(self) -> set[str]:
        """The networks that are this system, none where the cell gives a reason instead."""
        return set() if self.here.startswith("no:") else {name for name in self.names() if "." not in name}

    def evidence(self, files: bool) -> list[str]:
        return [name for name in re.findall(r"`([^`]+)`", self.verified) if name.endswith(".py") == files]


def table_rows() -> list[Row]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == 4 for row in cells), [row for row in cells if len(row) != 4]
    return [Row(*row) for row in cells if row[0] != "system"]


ROWS = table_rows()
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.system)


@cache
def fixtures() -> dict[str, list[str]]:
    """Registered networks and the fixtures of their authors' numbers."""
    found: dict[str, list[str]] = {}
    for file in sorted(ORACLES.glob("*.json")):
        ctor: Any = json.loads(file.read_text(encoding="utf-8")).get("ctor")
        if ctor is not None:
            name = type(adapters.build(file.stem, ctor)).__name__
            found.setdefault(name, []).append(file.stem)
    return {name: files for name, files in found.items() if name in nets.__all__}


@pytest.mark.parametrize("name", nets.__all__)
def test_every_network_has_a_row(name: str) -> None:
    assert any(name in row.networks() for row in ROWS), f"docs/coverage.md has no row that names `{name}`: add it"


@rows
def test_every_name_exists(row: Row) -> None:
    for quoted in re.findall(r"`([^`]+)`", row.here):
        name = quoted.partition("(")[0]
        module, _, attribute = name.rpartition(".")
        home = importlib.import_module(f"medmamba_monai.{module}") if module else nets
        assert attribute in home.__all__, f"the row of {row.system} names `{name}`, which does not exist"
        if "(" in quoted:
            call = ast.parse(quoted, mode="eval").body
            assert isinstance(call, ast.Call)
            known = inspect.signature(getattr(home, attribute)).parameters
            assert {keyword.arg for keyword in call.keywords} <= set(known)


@rows
def test_a_row_says_what_was_verified_or_why_not(row: Row) -> None:
    if row.names() and not row.here.startswith("no:"):
        assert len(row.verified) > 1, f"{row.system}: say what was verified"
    else:
        assert re.match("no: .{8}", row.here) and row.verified == "-", f"{row.system}: give the reason why not"
    if re.search(r"\bcounts\b", row.verified):
        assert any(getattr(nets, name).variants for name in row.networks()), f"{row.system} has no sizes to count"


@pytest.mark.parametrize("name", nets.__all__)
def test_the_authors_numbers_have_their_fixtures(name: str) -> None:
    claimed = {file for row in ROWS if name in row.networks() for file in row.evidence(files=False)}
    of_others = {file for row in ROWS for n in row.networks() - {name} for file in fixtures().get(n, [])}
    missing = set(fixtures().get(name, [])) - claimed
    assert not missing, f"tests/oracles has {sorted(missing)}: add them to the row of `{name}` in docs/coverage.md"
    unknown = claimed - set(fixtures().get(name, [])) - of_others
    assert not unknown, f"the row of `{name}` claims {sorted(unknown)}, which tests/oracles does not have"
    if re.match(r"(both )?outputs? and gradients", getattr(nets, name).source.verified):
        assert name in fixtures(), f"{name}.source claims the authors' numbers, but tests/oracles has no fixture"


@rows
def test_the_tests_that_are_named_exist(row: Row) -> None:
    for file in row.evidence(files=True):
        text = (ROOT / file).read_text(encoding="utf-8")
        names = [name.rpartition(".")[2] for name in row.names()]
        assert any(re.search(rf"\b{name}\b", text) for name in names), f"{file} names none of {names}"


def test_no_system_of_the_survey_is_missing() -> None:
    if not SURVEY.exists():
        pytest.skip("the list of systems, shared/reference/survey_systems.md, is not beside the repository")
    papers = set(re.findall(r"\b2\d{3}\.\d{5}\b|\b10\.\d{4,}/[\w.]+", SURVEY.read_text(encoding="utf-8")))
    missing = papers - {"2410.02362"} - {paper for row in ROWS for paper in row.paper.split(", ")}
    assert len(papers) > 60 and not missing, f"docs/coverage.md has no row for the papers {sorted(missing)}"
