"""Weights are loaded whole or refused; a training goes on where it stopped; a full disk harms nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from medmamba_monai.collection.checkpoint import AtomicCheckpointSaver, TrainingState, load_weights
from medmamba_monai.collection.checks import InputError


def test_weights_go_into_every_network(tmp_path: Path) -> None:
    source, first, second = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(2, 3)
    for content in (source.state_dict(), {"model": source.state_dict()}):
        torch.save(content, tmp_path / "model.pt")
        load_weights(tmp_path / "model.pt", [first, second])
        assert torch.equal(first.weight, source.weight) and torch.equal(second.bias, source.bias)


def test_faulty_weights_are_refused(tmp_path: Path) -> None:
    file, network = tmp_path / "model.pt", nn.Linear(2, 3)
    before = network.weight.clone()
    with pytest.raises(InputError, match="does not exist"):
        load_weights(file, [network])
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="damaged"):
        load_weights(file, [network])
    for content in (nn.Linear(2, 4).state_dict(), {"weight": torch.zeros(3, 2)}):
        torch.save(content, file)
        with pytest.raises(InputError, match="does not fit"):
            load_weights(file, [network])
    torch.save([1, 2], file)
    with pytest.raises(InputError, match="holds a list"):
        load_weights(file, [network])
    assert torch.equal(network.weight, before)


def scored(engine: Engine, value: float) -> None:
    state: Any = engine.state
    state.metrics = {"score": value}
    state.key_metric_name = "score"


def make(folder: Path) -> tuple[nn.Module, Engine, AtomicCheckpointSaver]:
    network, evaluator = nn.Linear(1, 1), Engine(lambda engine, batch: None)
    saver = AtomicCheckpointSaver(str(folder), {"model": network})
    saver.attach(evaluator)
    return network, evaluator, saver


def test_only_better_weights_are_kept_also_after_a_resume(tmp_path: Path) -> None:
    network, evaluator, saver = make(tmp_path)

    def validate(weight: float, score: float) -> float:
        nn.init.constant_(network.weight, weight)
        scored(evaluator, score)
        saver.metrics_completed(evaluator)
        return float(torch.load(tmp_path / "model.pt", weights_only=True)["weight"])

    assert [validate(1, 0.5), validate(2, 0.4), validate(3, 0.6)] == [1, 1, 3]
    network, evaluator, saver = make(tmp_path)
    saver.expect(0.6)
    assert [validate(4, 0.55), validate(5, 0.7)] == [3, 5]


def test_a_failed_save_keeps_the_former_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, evaluator, saver = make(tmp_path)
    scored(evaluator, 0.5)
    saver.metrics_completed(evaluator)
    before = (tmp_path / "model.pt").read_bytes()

    def full(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    scored(evaluator, 0.9)
    with pytest.raises(InputError, match="No space left"):
        saver.metrics_completed(evaluator)
    assert (tmp_path / "model.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_state_comes_back(tmp_path: Path) -> None:
    def parts() -> tuple[Any, Any, TrainingState]:
        network = nn.Linear(1, 1)
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
        trainer = SimpleNamespace(state=SimpleNamespace(epoch=0, iteration=0, epoch_length=7))
        evaluator: Any = SimpleNamespace(state=SimpleNamespace(best_metric=-1, best_metric_epoch=-1))
        objects = {"network": network, "optimizer": optimizer}
        return trainer, evaluator, TrainingState(tmp_path / "last.pt", objects, evaluator)

    trainer, evaluator, state = parts()
    state.objects["network"](torch.ones(1, 1)).sum().backward()
    state.objects["optimizer"].step()
    trainer.state.epoch, evaluator.state.best_metric, evaluator.state.best_metric_epoch = 4, 0.8, 3
    state.save(trainer)
    again, judge, restored = parts()
    assert restored.restore(again) == 4
    assert (again.state.epoch, again.state.iteration) == (4, 28)
    assert (judge.state.best_metric, judge.state.best_metric_epoch) == (0.8, 3)
    assert torch.equal(restored.objects["network"].weight, state.objects["network"].weight)
    assert restored.objects["optimizer"].state_dict()["state"][0]["step"] == 1
    del state.objects["optimizer"]
    state.save(trainer)
    with pytest.raises(InputError, match="holds no 'optimizer'"):
        restored.restore(again)
