"""Ellipses of masks, the circumference written by inference, and its error in the report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medmamba_monai.collection.head_circumference import CircumferenceReport, Ellipse, HeadCircumferenced, fit_ellipse


def head(long: float, short: float, angle: float = 0.0, size: tuple[int, int] = (240, 200)) -> np.ndarray:
    """A filled ellipse (W, H) in the middle of a picture."""
    x, y = np.meshgrid(np.arange(size[0]) - size[0] / 2, np.arange(size[1]) - size[1] / 2, indexing="ij")
    turn = math.radians(angle)
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return (along / long) ** 2 + (across / short) ** 2 <= 1


def test_the_perimeter_is_the_integral() -> None:
    turns = np.linspace(0, 2 * math.pi, 200_001)
    for a, b in ((1.0, 1.0), (3.0, 2.0), (5.0, 1.0)):
        x, y = a * np.cos(turns), b * np.sin(turns)
        length = np.hypot(np.diff(x), np.diff(y)).sum()
        assert Ellipse((0, 0), (a, b), 0).perimeter == pytest.approx(length, rel=1e-4)


@pytest.mark.parametrize("angle", [0, 30, 90, 150])
def test_an_ellipse_is_found_again(angle: float) -> None:
    found = fit_ellipse(head(80, 55, angle), (0.5, 0.5))
    assert found.semi_axes == pytest.approx((40, 27.5), rel=0.01)
    assert abs((found.angle - angle + 90) % 180 - 90) < 1
    assert found.centre == pytest.approx((120, 100), abs=0.1)
    # a border of three pixels on every side is taken off
    assert fit_ellipse(head(80, 55, angle), border=3).semi_axes == pytest.approx((77, 52), rel=0.01)


def test_sides_of_a_pixel_may_differ() -> None:
    assert fit_ellipse(head(80, 40), (0.5, 1.0)).semi_axes == pytest.approx((40, 40), rel=0.01)


def test_an_empty_mask_has_no_circumference() -> None:
    assert fit_ellipse(np.zeros((5, 5))).perimeter == 0


def test_inference_writes_millimetres_where_the_pixel_is_known(tmp_path: Path, capsys: Any) -> None:
    circle = torch.from_numpy(head(50, 50))[None].float()
    table = tmp_path / "sizes.csv"
    table.write_text("filename,pixel size(mm)\nc.png,0.2\n", encoding="utf-8")
    scaled = MetaTensor(circle, affine=torch.diag(torch.tensor([0.4, 0.4, 1.0, 1.0])))
    plain = MetaTensor(circle, affine=torch.eye(4))
    for case, label, more in (
        ("a", plain, {}),
        ("b", plain, {"pixel_mm": 0.1}),
        ("c", plain, {"pixel_table": table}),
        ("d", scaled, {"border": 0.05}),
    ):
        HeadCircumferenced("pred", tmp_path, **more)({"pred": label, "case": case})
    found = {case: json.loads((tmp_path / f"{case}_circumference.json").read_text()) for case in "abcd"}
    assert [found[case]["unit"] for case in "abcd"] == ["pixels", "mm", "mm", "mm"]
    lengths = [found[case]["head_circumference"] for case in "abcd"]
    # the border of the last is a twentieth of 240 pixels
    whole = 2 * math.pi * 50
    assert lengths == pytest.approx([whole, 0.1 * whole, 0.2 * whole, 0.4 * 2 * math.pi * 38], rel=0.01)
    assert "b: head circumference 31.4 mm" in capsys.readouterr().out


def test_the_report_gives_error_and_bias(tmp_path: Path) -> None:
    truth = 2 * math.pi * 50
    items, outputs = [], []
    for number, (radius, known) in enumerate(((50, truth), (45, truth), (0, truth), (50, float("nan")))):
        mask = torch.from_numpy(head(max(radius, 1e-6), max(radius, 1e-6)) & (radius > 0))[None].float()
        item = {"case": str(number), "group": str(number), "image": torch.rand(1, 240, 200)}
        items.append(item | {"pixel_mm": 1.0, "head_circumference_mm": known})
        outputs.append({"pred": torch.cat((1 - mask, mask)), "label": torch.cat((1 - mask, mask))})
    details = {"dice": torch.ones(4, 1)}
    state = SimpleNamespace(batch=items, output=outputs, metric_details=details)
    engine: Any = SimpleNamespace(data_loader=SimpleNamespace(dataset=items), state=state)
    report = CircumferenceReport(tmp_path, ["head"], "examinations")
    for call in (report._begin, report._collect, report._write):
        call(engine)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert metrics["dice_mean"]["value"] == 1
    assert metrics["circumference_error_mm"]["value"] == pytest.approx((0.1 * truth + truth) / 3, rel=0.01)
    assert metrics["circumference_bias_mm"]["value"] == pytest.approx(-(0.1 * truth + truth) / 3, rel=0.01)
