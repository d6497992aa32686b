"""Outputs and gradients against those of the authors' code, on the same weights and inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.oracles import adapters
from tests.oracles.oracle import Oracle

FOLDER = Path(__file__).parents[1] / "oracles"
NAMES = ["mamba1", "medmamba", "umamba_bot_2d", "umamba_bot_3d", "umamba_enc_2d", "umamba_enc_3d"]


@pytest.mark.parametrize("name", NAMES)
def test_same_numbers_as_the_authors(name: str) -> None:
    oracle = Oracle(FOLDER / f"{name}.json")
    net = adapters.build(name, oracle.meta["ctor"])
    upstream_key = adapters.load(net, oracle.state_dict())
    # only U-Mamba returns its list of outputs while training; it has no layer that differs between the two modes
    net.train(name.startswith("umamba"))
    inputs = oracle.inputs(requires_grad=True)
    outputs = net(*inputs.values())
    oracle.loss(outputs).backward()
    grads = {key: value.grad for key, value in inputs.items()}
    grads |= {upstream_key[key]: p.grad for key, p in net.named_parameters()}
    report = oracle.check(outputs, grads)
    assert report, str(report)
    assert sum(p.numel() for p in net.parameters()) == oracle.meta["params"]


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_compared(name: str) -> None:
    oracle = Oracle(FOLDER / f"{name}.json")
    net = adapters.build(name, oracle.meta["ctor"])
    names = adapters.load(net, oracle.state_dict())
    assert {names[key] for key, _ in net.named_parameters()} == set(oracle.grad_norm)


def test_a_reversed_scan_is_noticed() -> None:
    oracle = Oracle(FOLDER / "mamba1.json")
    net = adapters.build("mamba1", oracle.meta["ctor"])
    adapters.load(net, oracle.state_dict())
    with torch.no_grad():
        y = net(oracle.inputs()["x"].flip(1)).flip(1)
    assert not oracle.check(y)
