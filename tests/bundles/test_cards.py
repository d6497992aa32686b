"""The pages, the metadata and the tables say what the stored evaluations say; no case is in two lists of a split."""

from __future__ import annotations

import json
from itertools import combinations

import pytest

from medmamba_monai.collection.bundles import Bundle, all_bundles
from medmamba_monai.collection.card import eval_metrics, page
from medmamba_monai.collection.datasets.common import SECTIONS
from medmamba_monai.collection.listing import markdown_table, with_table
from tests.bundles.conftest import BUNDLES, NAMES


@pytest.mark.parametrize("name", NAMES)
def test_metadata_holds_the_stored_values(name: str) -> None:
    bundle = Bundle(BUNDLES / name)
    assert bundle.metadata["eval_metrics"] == eval_metrics(bundle)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_was_recorded_whole(name: str) -> None:
    wanted = {"cases", "groups", "interval", "metrics", "parameters", "latency_seconds", "epochs", "best_epoch"}
    wanted |= {"validation", "training_minutes"}
    bundle = Bundle(BUNDLES / name)
    # plain methods have no parameters and no training
    networks = {network: entry for network, entry in bundle.networks.items() if network in bundle.evaluation}
    assert {network: wanted - set(entry) for network, entry in networks.items() if wanted - set(entry)} == {}
    peers = BUNDLES / name / "configs" / "peers"
    assert [entry["peer"] for entry in networks.values() if not (peers / entry.get("peer", "")).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_what_card_would_write(name: str) -> None:
    bundle = Bundle(BUNDLES / name)
    text = bundle.card.read_text(encoding="utf-8")
    assert page(bundle, text) == text, f"run python -m medmamba_monai card {name}"


@pytest.mark.parametrize("file", ["README.md", "bundles/README.md"])
def test_the_tables_are_what_list_would_write(file: str) -> None:
    readme = BUNDLES.parent / file
    text = readme.read_text(encoding="utf-8")
    table = markdown_table(all_bundles(BUNDLES), readme.parent)
    assert with_table(text, table) == text, f"run python -m medmamba_monai list --markdown {file}"


@pytest.mark.parametrize("name", NAMES)
def test_no_case_and_no_group_is_in_two_lists(name: str) -> None:
    split = json.loads((BUNDLES / name / "configs" / "splits.json").read_text(encoding="utf-8"))
    groups = split.get("groups", {})
    if "hippocampus" in name:  # cases 2k-1 and 2k are of one head
        groups = {case: (int(case.rsplit("_", 1)[1]) + 1) // 2 for section in SECTIONS for case in split[section]}
    for first, second in combinations(SECTIONS, 2):
        assert not set(split[first]) & set(split[second])
        assert not {groups[c] for c in split[first] if c in groups} & {groups[c] for c in split[second] if c in groups}
    assert all(len(set(split[section])) == len(split[section]) > 0 for section in SECTIONS)
