"""The larger networks that the bundles offer for a GPU fit the bundles' configs; their weights are not shipped."""

from __future__ import annotations

import json

import pytest
import torch
from monai.bundle import ConfigParser

from tests.bundles.conftest import BUNDLES, NAMES

LARGE = [name for name in NAMES if (BUNDLES / name / "configs" / "large.json").is_file()]


def parsed(name: str, *files: str) -> ConfigParser:
    config = ConfigParser()
    config.read_config([str(BUNDLES / name / "configs" / file) for file in files])
    return config


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("first", ["train.json", "inference.json"])
def test_a_larger_network_with_the_same_inputs_and_outputs(name: str, first: str) -> None:
    small = parsed(name, first).get_parsed_content("network_def")
    config = parsed(name, first, "large.json")
    with torch.device("meta"):
        large = config.get_parsed_content("network_def")
    kept = {key: value for key, value in config["network_def"].items() if isinstance(value, (int, str))}
    assert kept.items() <= parsed(name, first)["network_def"].items()
    count = [sum(p.numel() for p in net.parameters()) for net in (small, large)]
    assert 4 * count[0] < count[1] < 200e6


@pytest.mark.parametrize("name", LARGE)
def test_sizes_are_those_the_config_has(name: str) -> None:
    large = json.loads((BUNDLES / name / "configs" / "large.json").read_text(encoding="utf-8"))
    train = parsed(name, "train.json").config
    assert {key.partition("#")[0] for key in large} <= set(train)
