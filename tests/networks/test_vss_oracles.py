"""Outputs and gradients of the VSS networks against those of their authors' code."""

from __future__ import annotations

import pytest

from tests.networks.test_oracles import FOLDER
from tests.oracles import adapters, adapters_vss
from tests.oracles.oracle import Oracle

# Parameters that the authors' code holds but never uses: none of ours correspond to them.
DEAD = {"vm_unet_v2": ("vmunet.layers.3.", "seg_outs.0.", "seg_outs.1.", "deconv5.")}


@pytest.mark.parametrize("name", adapters_vss.NAMES)
def test_same_numbers_as_the_authors(name: str) -> None:
    oracle = Oracle(FOLDER / f"{name}.json")
    net = adapters.build(name, oracle.meta["ctor"])
    # only these return all their outputs while training; none of their layers differs between the modes
    net.train(name.startswith("swin"))
    upstream_key = adapters.load(net, oracle.state_dict())
    inputs = oracle.inputs(requires_grad=True)
    outputs = net(*inputs.values())
    oracle.loss(outputs).backward()
    grads = {key: value.grad for key, value in inputs.items()}
    ours = {upstream_key[key]: p.grad for key, p in net.named_parameters()}
    report = oracle.check(outputs, grads | ours)
    assert report, str(report)
    dead = {key for key in oracle.grad_norm if key.startswith(DEAD.get(name, ()))} if name in DEAD else set()
    assert set(ours) == set(oracle.grad_norm) - dead
    assert dead <= set(oracle.meta["params_without_gradient"])
