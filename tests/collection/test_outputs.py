"""Volumes, pictures, tables of probabilities, learning curves."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.history import TrainingHistory, draw_curves
from medmamba_monai.collection.outputs import OverlaySaverd, ProbabilityWriter, VolumeReportd
from medmamba_monai.collection.pictures import ColourPictured, GreyPictured


def label_map(affine: np.ndarray) -> MetaTensor:
    label = torch.zeros(1, 8, 9, 10)
    label[0, 1:5, 2:4, 3:6] = 1
    label[0, 5:7, 2:4, 3:6] = 2
    return MetaTensor(label, affine=torch.as_tensor(affine))


def test_volumes_count_in_millilitres_whatever_the_axes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turned = np.array([[0, 0, -2.0, 1], [0.5, 0, 0, 2], [0, 3.0, 0, 3], [0, 0, 0, 1]])
    VolumeReportd("pred", ["anterior", "posterior"], tmp_path)({"pred": label_map(turned), "case": "a"})
    found = json.loads((tmp_path / "a_volumes.json").read_text(encoding="utf-8"))
    assert found == {
        "unit": "ml",
        "anterior": pytest.approx(0.072),
        "posterior": pytest.approx(0.036),
        "total": pytest.approx(0.108),
    }
    assert "a: anterior 0.072 ml, posterior 0.036 ml, total 0.108 ml" in capsys.readouterr().out


def test_overlay_shows_three_planes(tmp_path: Path) -> None:
    image = MetaTensor(torch.rand(1, 8, 9, 10), affine=torch.eye(4))
    OverlaySaverd("pred", "image", tmp_path, scale=2)({"pred": label_map(np.eye(4)), "image": image, "case": "a"})
    picture = np.asarray(Image.open(tmp_path / "a_overlay.png"))
    assert picture.shape == (20, 2 * (9 + 8 + 8) + 18, 3)
    colours = {tuple(int(v) for v in pixel) for pixel in picture.reshape(-1, 3) if len(set(pixel.tolist())) > 1}
    assert len(colours) == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_overlay_of_a_picture(tmp_path: Path, channels: int) -> None:
    label = MetaTensor(torch.zeros(1, 20, 10))
    label[0, 5:9, 2:4] = 1
    item = {"pred": label, "image": torch.rand(channels, 20, 10), "case": "a"}
    OverlaySaverd("pred", "image", tmp_path, scale=3)(item)
    assert np.asarray(Image.open(tmp_path / "a_overlay.png")).shape == (30, 66, 3)


@pytest.mark.parametrize("overlay", [False, True])
def test_probabilities_are_written(tmp_path: Path, overlay: bool) -> None:
    writer = ProbabilityWriter(tmp_path, ["cat", "dog"], overlay)
    items = [{"case": "a", "image": torch.rand(1, 8, 8)}, {"case": "b", "image": torch.rand(1, 8, 8)}]
    outputs = [{"pred": torch.tensor([0.2, 0.8])}, {"pred": torch.tensor([0.9, 0.1])}]
    engine: Any = SimpleNamespace(state=SimpleNamespace(batch=items, output=outputs))
    writer._collect(engine)
    writer._write(engine)
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["predicted"]) for row in rows] == [("a", "dog"), ("b", "cat")]
    assert float(rows[0]["dog"]) == pytest.approx(0.8)
    assert (tmp_path / "a_overlay.png").is_file() == overlay


@pytest.mark.parametrize(
    ("shape", "channel"), [((1, 4, 5), 0), ((3, 4, 5), 0), ((4, 4, 5), 0), ((2, 4, 5), 0), ((1, 4, 5, 1), 0)]
)
def test_pictures_become_grey(shape: tuple[int, ...], channel: int) -> None:
    picture = torch.rand(shape)
    grey = GreyPictured("image")({"image": picture})["image"]
    colours = 3 if shape[0] >= 3 else 1
    assert torch.allclose(grey[channel], picture.reshape(*shape[:3])[:colours].mean(0))


@pytest.mark.parametrize("shape", [(1, 4, 5), (2, 4, 5), (3, 4, 5), (4, 4, 5), (3, 4, 5, 1)])
def test_pictures_get_three_colours(shape: tuple[int, ...]) -> None:
    picture = torch.rand(shape)
    colour = ColourPictured("image")({"image": picture})["image"]
    colours = picture.reshape(*shape[:3])
    assert colour.shape == (3, 4, 5)
    assert torch.equal(colour, colours[:3] if shape[0] >= 3 else colours[:1].repeat(3, 1, 1))


def test_pictures_keep_where_they_lie() -> None:
    picture = MetaTensor(torch.rand(4, 4, 5), meta={"filename_or_obj": "a.png"})
    for turn in (GreyPictured("image"), ColourPictured("image")):
        assert turn({"image": picture})["image"].meta["filename_or_obj"] == "a.png"


@pytest.mark.parametrize("turn", [GreyPictured("image"), ColourPictured("image")])
def test_volumes_are_no_pictures(turn: Any) -> None:
    with pytest.raises(InputError, match="give one grey or colour picture"):
        turn({"image": torch.zeros(1, 4, 5, 6)})


def test_history_survives_a_resume_and_becomes_a_picture(tmp_path: Path) -> None:
    evaluator: Any = SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}, key_metric_name="score"))
    first = TrainingHistory(tmp_path, evaluator)
    trainer: Any = SimpleNamespace(state=SimpleNamespace(epoch=1, output={"loss": torch.tensor(3.0)}))
    for history, epoch in ((first, 1), (TrainingHistory(tmp_path, evaluator), 2)):
        history.load_state_dict(first.state_dict())
        history._begin(trainer)
        trainer.state.epoch = epoch
        for loss in (3.0, 1.0):
            trainer.state.output = [{"loss": loss}] if epoch == 2 else {"loss": torch.tensor(loss)}
            history._add(trainer)
        evaluator.state.epoch, evaluator.state.metrics = (2, {"score": 0.5}) if epoch == 2 else (0, {})
        history._end(trainer)
    with open(tmp_path / "history.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["epoch"], row["loss"], row["metric"]) for row in rows] == [("1", "2.0", ""), ("2", "2.0", "0.5")]
    pytest.importorskip("matplotlib")
    draw_curves({"ours": tmp_path / "history.csv"}, tmp_path / "curves.png", "score")
    assert Image.open(tmp_path / "curves.png").size[0] > 300
