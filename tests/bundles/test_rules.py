"""What MONAI and its zoo demand of a bundle: the rules of ``verify``, each on every bundle of the collection."""

from __future__ import annotations

import pytest

from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.verify import RULES, Rule, verify
from tests.bundles.conftest import BUNDLES, NAMES


def test_all_bundle_folders_are_tested() -> None:
    assert NAMES == sorted(folder.name for folder in BUNDLES.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", NAMES)
# whole runs are in test_runs.py
@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.slow], ids=lambda rule: rule.name)
def test_rule(rule: Rule, name: str) -> None:
    assert verify(Bundle(BUNDLES / name), rule) == []
