"""Outputs and gradients of the 3D, slide and restoration networks against those of their authors' code."""

from __future__ import annotations

import pytest
from torch import nn

from tests.networks.test_oracles import FOLDER
from tests.oracles import adapters, adapters_volumes
from tests.oracles.oracle import Oracle

# In single precision rounding moves a few voxels across the kinks of ReLU; in double precision the gradients agree to
# the usual tolerance, at three times the cost.
KINKS = {"segmamba": 0.01}


def compare(name: str) -> tuple[nn.Module, set[str]]:
    """Check outputs and all gradients; return our network and the authors' parameters that it does not have."""
    oracle = Oracle(FOLDER / f"{name}.json")
    net = adapters.build(name, oracle.meta["ctor"]).eval()
    upstream_key = adapters.load(net, oracle.state_dict())
    inputs = oracle.inputs(requires_grad=True)
    outputs = net(*inputs.values())
    oracle.loss(outputs).backward()
    ours = {upstream_key[key]: p.grad for key, p in net.named_parameters()}
    grads = {key: x.grad for key, x in inputs.items() if x.grad is not None}
    report = oracle.check(outputs, grads | ours, grad_rtol=KINKS.get(name))
    assert report, str(report)
    return net, set(oracle.grad_norm) - set(ours)


@pytest.mark.parametrize("name", adapters_volumes.NAMES)
def test_same_numbers_as_the_authors(name: str) -> None:
    net, left_out = compare(name)
    meta = Oracle(FOLDER / f"{name}.json").meta
    assert left_out <= set(meta["params_without_gradient"])
