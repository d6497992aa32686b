"""Checkpoints of the authors' code in all the wrappings they come in, and those that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmamba_monai.networks.nets import UMamba
from medmamba_monai.weights import WeightsError, convert
from tests.oracles import adapters
from tests.oracles.oracle import Oracle

FOLDER = Path(__file__).parents[1] / "oracles"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def bottleneck() -> tuple[nn.Module, State]:
    oracle = Oracle(FOLDER / "umamba_bot_2d.json")
    return adapters.build("umamba_bot_2d", oracle.meta["ctor"]), oracle.state_dict()


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "without the copies": lambda state: {
        k: v for k, v in state.items() if "all_modules" not in k and not k.startswith("decoder.encoder")
    },
    "nnunet": lambda state: {"network_weights": state, "current_epoch": 3, "trainer_name": "nnUNetTrainerUMambaBot"},
    "data parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "compiled": lambda state: {"state_dict": {f"_orig_mod.module.{k}": v for k, v in state.items()}},
    "model": lambda state: {"model": state, "epoch": 1},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings(bottleneck: tuple[nn.Module, State], wrapping: str) -> None:
    net, state = bottleneck
    converted = convert(WRAPPINGS[wrapping](state), net)
    assert list(converted) == list(net.state_dict())
    assert torch.equal(converted["mixers.3.mamba.D"], state["mamba_layer.mamba.D"])
    assert torch.equal(converted["stem.1.conv2.weight"], state["encoder.stem.1.conv2.all_modules.0.weight"])
    net.load_state_dict(converted, strict=True)


def test_own_weights_pass_unchanged(bottleneck: tuple[nn.Module, State]) -> None:
    net, _ = bottleneck
    own = net.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(convert(own, net).values(), own.values(), strict=True))


def test_all_faults_come_in_one_message(bottleneck: tuple[nn.Module, State]) -> None:
    net, state = bottleneck
    broken = {k: v for k, v in state.items() if "mamba_layer.norm" not in k}
    broken["decoder.seg_layers.2.bias"] = torch.zeros(9)
    broken["optimizer.thing"] = torch.zeros(1)
    broken["decoder.encoder.stem.0.conv1.bias"] = torch.ones(8)
    with pytest.raises(WeightsError) as caught:
        convert(broken, net)
    message = str(caught.value)
    assert "2 missing: mixers.3.norm.weight, mixers.3.norm.bias" in message
    assert "1 unknown: optimizer.thing" in message
    assert "heads.2.bias (9,) instead of (3,)" in message
    assert "1 given twice with different values: stem.0.conv1.bias" in message


def test_another_network_is_refused_and_the_message_stays_short() -> None:
    other = UMamba(2, 1, 2, features=[4, 8])
    with pytest.raises(WeightsError, match="and [0-9]+ more") as caught:
        convert({"a": torch.zeros(1)}, other)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", [[], {}, {"epoch": 3}, None, {"state_dict": {}}], ids=str)
def test_what_holds_no_weights(content: Any) -> None:
    with pytest.raises(WeightsError, match="the checkpoint holds"):
        convert(content, nn.Linear(1, 1))


def test_the_network_is_not_changed(bottleneck: tuple[nn.Module, State]) -> None:
    net, state = bottleneck
    before = {k: v.clone() for k, v in net.state_dict().items()}
    convert({k: v + 1 for k, v in state.items()}, net)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
