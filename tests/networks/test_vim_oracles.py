"""Outputs and gradients of LightM-UNet, LKM-UNet and Vim against those of their authors' code."""

from __future__ import annotations

import pytest

from tests.networks.test_oracles import FOLDER
from tests.oracles import adapters, adapters_vim
from tests.oracles.oracle import Oracle


@pytest.mark.parametrize("name", adapters_vim.NAMES)
def test_same_numbers_as_the_authors(name: str) -> None:
    oracle = Oracle(FOLDER / f"{name}.json")
    net = adapters.build(name, oracle.meta["ctor"])
    # only LKM-UNet returns all its outputs while training; none of its layers differs between the modes
    net.train(name.startswith("lkm"))
    upstream_key = adapters.load(net, oracle.state_dict())
    inputs = oracle.inputs(requires_grad=True)
    outputs = net(*inputs.values())
    oracle.loss(outputs).backward()
    ours = {upstream_key[key]: p.grad for key, p in net.named_parameters()}
    report = oracle.check(outputs, {key: value.grad for key, value in inputs.items()} | ours)
    assert report, str(report)
    assert set(ours) == set(oracle.grad_norm)
    assert sum(p.numel() for p in net.parameters()) == oracle.meta["params"]
