"""Outputs and gradients of HMT-UNet and H-vmunet against those of their authors' code."""

from __future__ import annotations

import pytest

from tests.networks.test_oracles import FOLDER
from tests.oracles import adapters, adapters_hybrid
from tests.oracles.oracle import Oracle


@pytest.mark.parametrize("name", adapters_hybrid.NAMES)
def test_same_numbers_as_the_authors(name: str) -> None:
    oracle = Oracle(FOLDER / f"{name}.json")
    net = adapters.build(name, oracle.meta["ctor"]).eval()
    upstream_key = adapters.load(net, oracle.state_dict())
    inputs = oracle.inputs(requires_grad=True)
    outputs = net(*inputs.values())
    oracle.loss(outputs).backward()
    ours = {upstream_key[key]: p.grad for key, p in net.named_parameters()}
    report = oracle.check(outputs, {key: value.grad for key, value in inputs.items()} | ours)
    assert report, str(report)
    dead = set(oracle.meta["params_without_gradient"])
    assert set(ours) == set(oracle.grad_norm) - dead
