"""The README's table: it picks the best peer, and the README shows what the bundles store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medmamba_monai.__main__ import main
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.results import BEGIN, END, table, with_table


def entry(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    docs = tmp_path / "b" / "docs"
    docs.mkdir(parents=True)
    values = {"Ours": 0.5, "UNet": 0.6, "SegResNet": 0.7}
    found = {name: {"cases": 24, "metrics": {"dice_mean": entry(value)}} for name, value in values.items()}
    (docs / "evaluation.json").write_text(json.dumps(found))
    return tmp_path


def test_best_peer_stands_beside(bundles: Path) -> None:
    row = table(bundles).splitlines()[2]
    assert "mean Dice, 24 cases | 0.500 (0.400 to 0.600) | 0.700 (0.600 to 0.800), SegResNet |" in row


def test_readme_is_rewritten_between_the_marks(bundles: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    assert main(["results", "--bundles", str(bundles), "--readme", str(readme)]) == 0
    assert readme.read_text() == f"above\n{BEGIN}\n{table(bundles)}\n{END}\nbelow\n"


def test_missing_marks_and_bundles_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="add both"):
        with_table(f"{END} {BEGIN}", "x")
    with pytest.raises(InputError, match="give --bundles FOLDER"):
        table(tmp_path)


def test_readme_shows_what_the_bundles_store(root: Path) -> None:
    if not list((root / "bundles").glob("*/docs/evaluation.json")):
        pytest.skip("no bundle stores an evaluation yet")
    text = (root / "README.md").read_text(encoding="utf-8")
    assert with_table(text, table(root / "bundles")) == text
