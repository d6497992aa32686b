"""Files of weights: good ones load, all others give one clear sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medmamba_monai.weights import WeightsError, cards, load, read


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    file = tmp_path / "model.pt"
    torch.save(nn.Linear(40, 30).state_dict(), file)
    return file


def test_a_good_file(saved: Path) -> None:
    net = nn.Linear(40, 30)
    load(saved, net)
    assert torch.equal(net.weight, torch.load(saved, weights_only=True)["weight"])


def test_a_checkpoint_of_an_nnunet_trainer(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    content = {
        "network_weights": {f"module.{k}": v for k, v in net.state_dict().items()},
        "logging": {"ema_fg_dice": [np.float64(0.8), np.float32(0.7)]},
        "_best_ema": np.float64(0.8),
        "init_args": {"device": torch.device("cpu"), "fold": 0},
        "inference_allowed_mirroring_axes": (0, 1),
    }
    torch.save(content, tmp_path / "checkpoint_final.pth")
    fresh = nn.Linear(2, 2)
    load(tmp_path / "checkpoint_final.pth", fresh)
    assert torch.equal(fresh.weight, net.weight)


class Trap:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch trapped",)


class Custom:
    pass


def test_code_in_a_file_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for thing, name in ((Trap(), "system"), (Custom(), "Custom")):
        torch.save({"weight": thing}, "trap.pt")
        with pytest.raises(WeightsError, match=f"{name}, which would run code"):
            read("trap.pt")
    assert not Path("trapped").exists()


def spoil(saved: Path, how: str) -> None:
    data = bytearray(saved.read_bytes())
    if how == "flipped byte":
        data[data.index(torch.load(saved, weights_only=True)["weight"].numpy().tobytes()[:16])] ^= 0xFF
    saved.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "foreign": b"GIF89a" * 50}.get(how, data))


@pytest.mark.parametrize("how", ["truncated", "empty", "foreign", "flipped byte"])
def test_damaged_files(saved: Path, how: str) -> None:
    spoil(saved, how)
    net = nn.Linear(40, 30)
    before = net.weight.detach().clone()
    with pytest.raises(WeightsError, match="(truncated|damaged|empty).*again") as caught:
        load(saved, net)
    assert str(saved) in str(caught.value) and "\n" not in str(caught.value)
    assert torch.equal(net.weight, before)


def test_a_torchscript_archive(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(1, 1), torch.zeros(1, 1)).save(str(tmp_path / "model.ts"))
    with pytest.raises(WeightsError, match="torch.jit.load"):
        read(tmp_path / "model.ts")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        read(tmp_path / "no.pt")
    with pytest.raises(WeightsError, match="is a folder"):
        read(tmp_path)


def test_weights_of_another_network_name_the_file(saved: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.pt: the checkpoint does not fit this Linear"):
        load(saved, nn.Linear(2, 2))


def test_cards_read_the_bundles(tmp_path: Path, saved: Path) -> None:
    for folder in ("models", "configs"):
        (tmp_path / "all" / "some_bundle" / folder).mkdir(parents=True)
    saved.rename(tmp_path / "all" / "some_bundle" / "models" / "model.pt")
    assert cards(tmp_path / "all") == []
    metadata = tmp_path / "all" / "some_bundle" / "configs" / "metadata.json"
    metadata.write_text('{"version": "0.1.0", "copyright": "CC", "eval_metrics": {"mean_dice": 0.9}}')
    (card,) = cards(tmp_path / "all")
    assert (card.bundle, card.version, card.licence) == ("some_bundle", "0.1.0", "CC")
    assert "0.9" in card.metric and len(card.sha256) == 64
    metadata.write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        cards(tmp_path / "all")
    with pytest.raises(ValueError, match="is no folder"):
        cards(tmp_path / "nowhere")
