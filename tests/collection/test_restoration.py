"""Reports of restored images, and the files that inference writes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.metrics import PSNRMetric
from PIL import Image

from medmamba_monai.collection import reports
from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.card import measured, summary
from medmamba_monai.collection.datasets import repeated
from medmamba_monai.collection.pictures import ColourReturnedd, LuminancePictured
from medmamba_monai.collection.restoration import ImageSaverd, PanelSaverd, RestorationReport
from medmamba_monai.collection.statistics import bootstrap_intervals
from medmamba_monai.metrics import NMSEMetric

ERRORS = (0.1, 0.2, 0.4)


def evaluate(folder: Path, **options: Any) -> None:
    """Three cases at two sites; the result is off by a constant, the input by twice as much."""
    torch.manual_seed(0)
    truth = [0.3 + 0.3 * torch.rand(1, 12, 10) for _ in ERRORS]
    items = [{"case": f"c{n}", "group": f"g{n // 2}"} for n in range(3)]
    items = [item | {"site": "ab"[n % 2]} for n, item in enumerate(items)]
    outputs = [
        {"image": t + 2 * e, "pred": t + e, "label": t, "uncertainty": (t.argsort().argsort().float() + 1) * e}
        for t, e in zip(truth, ERRORS, strict=True)
    ]
    # in the last case the error grows with the uncertainty, pixel by pixel
    outputs[2]["pred"] = truth[2] + 0.1 * outputs[2]["uncertainty"] + 0.3
    engine: Any = SimpleNamespace(state=SimpleNamespace(batch=items, output=outputs))
    measures = {"psnr": PSNRMetric(max_val=1.0), "nmse": NMSEMetric()}
    report = RestorationReport(folder, measures, {"as it was": lambda x: x}, "patients", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "bootstrap_intervals", partial(bootstrap_intervals, samples=20))
        for call in (report._begin, report._collect, report._write):
            call(engine)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    evaluate(folder)
    return folder


def read(report: Path) -> dict[str, Any]:
    return json.loads((report / "metrics.json").read_text(encoding="utf-8"))


def test_measures_stand_beside_plain_methods(report: Path) -> None:
    found = read(report)
    metrics, plain = found["metrics"], found["beside"]["as it was"]["metrics"]
    assert found["cases"] == 3 and found["groups"] == 2 and "patients" in found["interval"]
    assert set(metrics) - set(plain) == {"uncertainty_correlation", "uncertainty_by_case"}
    assert {"psnr_a", "psnr_b", "nmse_a"} <= set(plain)
    # the result of the case at site b is off by 0.2: 20 log10 5; the input is off by twice as much: 6 dB
    assert metrics["psnr_b"]["value"] == pytest.approx(20 * np.log10(5), abs=1e-3)
    assert plain["psnr_b"]["value"] == pytest.approx(metrics["psnr_b"]["value"] - 20 * np.log10(2), abs=1e-3)
    assert plain["nmse_b"]["value"] == pytest.approx(4 * metrics["nmse_b"]["value"], rel=1e-2)


def test_uncertainty_is_compared_with_the_error(report: Path) -> None:
    metrics = read(report)["metrics"]
    assert metrics["uncertainty_by_case"]["value"] == pytest.approx(1)
    assert metrics["uncertainty_correlation"]["value"] is not None
    rows = (report / "metrics.csv").read_text(encoding="utf-8").splitlines()
    last = dict(zip(rows[0].split(","), rows[3].split(","), strict=False))
    assert rows[3].startswith("c2,g1,a") and len(rows) == 4 and "psnr" in last


def test_panels_of_the_middle_and_the_worst_case(report: Path) -> None:
    captions = json.loads((report / "pictures" / "captions.json").read_text(encoding="utf-8"))
    assert captions["worst"].startswith("c2, PSNR in dB ") and captions["typical"].startswith("c1, ")
    picture = Image.open(report / "pictures" / "worst.png")
    # plain, result, target, error and uncertainty, each with a margin, under a line of text
    assert picture.size == (5 * (12 + 6), 16 + 10)


def test_no_panel_where_the_data_may_not_be_shown(tmp_path: Path) -> None:
    evaluate(tmp_path, pictures=False)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["captions.json"]
    assert json.loads((tmp_path / "pictures" / "captions.json").read_text(encoding="utf-8")) == {}


def test_cards_show_plain_methods_as_rows(report: Path, tmp_path: Path) -> None:
    stored = {"Ours": read(report), "UNet": {**read(report), "peer": "unet.json"}}
    root = tmp_path / "net_toy_restoration"
    (root / "configs").mkdir(parents=True)
    (root / "docs").mkdir()
    image = {"num_channels": 1, "spatial_shape": [8, 8], "channel_def": {"0": "image"}}
    meta = {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": image}}}
    train = {"validate": {"key_metric": {"val_psnr": {}}}}
    for name, config in (("metadata", meta), ("inference", {}), ("train", train)):
        (root / "configs" / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    (root / "docs" / "evaluation.json").write_text(json.dumps(stored), encoding="utf-8")
    bundle = Bundle(root)
    assert list(bundle.networks) == ["Ours", "UNet", "as it was"]
    table = measured(bundle)
    assert "PSNR in dB" in table and "\n| as it was |" in table and "| site | PSNR in dB, Ours |" in table
    value = f"{stored['Ours']['metrics']['psnr']['value']:.2f} ("
    assert summary(bundle).startswith(f"PSNR in dB of Ours on the 3 cases of the test list: {value}")


def test_pictures_keep_levels_size_and_colour(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = MetaTensor(torch.rand(1, 6, 4), meta={"filename_or_obj": "x/a.PNG"})
    saver = ImageSaverd("pred", tmp_path, "x2")
    large = (255 * torch.rand(1, 12, 8)).round()
    saver({"image": source, "pred": large, "case": "a"})
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a_x2.png")), large[0].T.numpy())
    saver({"image": source, "pred": 100 * large, "case": "deep"})
    assert np.asarray(Image.open(tmp_path / "deep_x2.png")).max() == 100 * large.max()
    saver({"image": source, "pred": (255 * torch.rand(3, 6, 4)).round(), "case": "colour"})
    assert Image.open(tmp_path / "colour_x2.png").mode == "RGB"


def test_other_files_keep_their_geometry(tmp_path: Path) -> None:
    affine = np.array([[0, 0, 3, 5], [1.2, 0, 0, -3], [0, 0.8, 0, 7], [0, 0, 0, 1.0]])
    source = MetaTensor(torch.rand(1, 6, 4), affine=torch.tensor(affine), meta={"filename_or_obj": "a.nii.gz"})
    ImageSaverd("pred", tmp_path)({"image": source, "pred": source + 1, "case": "same"})
    same = nib.load(tmp_path / "same_restored.nii.gz")
    assert same.shape == (6, 4, 1) and np.allclose(same.affine, affine)
    assert np.allclose(same.get_fdata()[..., 0], source[0].numpy() + 1)
    ImageSaverd("pred", tmp_path)({"image": source, "pred": torch.rand(1, 12, 8), "case": "large"})
    large = nib.load(tmp_path / "large_restored.nii.gz")
    # both cover one field: the corner half a pixel before the first one
    corners = [np.array([-0.5, -0.5, 0, 1]), np.array([5.5, 3.5, 0, 1]), np.array([11.5, 7.5, 0, 1])]
    assert np.allclose(large.affine @ corners[0], affine @ corners[0])
    assert np.allclose(large.affine @ corners[2], affine @ corners[1])


def test_uncertainty_is_stored_exactly_and_drawn(tmp_path: Path) -> None:
    source = MetaTensor(torch.full((1, 6, 4), 200.0), meta={"filename_or_obj": "a.png"})
    item = {"image": source, "pred": source, "uncertainty": torch.full((1, 6, 4), 0.25), "case": "a"}
    ImageSaverd("uncertainty", tmp_path, "uncertainty", exact=True)(item)
    assert nib.load(tmp_path / "a_uncertainty.nii.gz").get_fdata().max() == 0.25
    PanelSaverd(["pred", "uncertainty"], tmp_path, ["result", "uncertainty"])(item)
    # 256 over the longer side of 6 is 43: six columns and four rows of 43, a margin of 6, a line of 16
    assert Image.open(tmp_path / "a_panel.png").size == (2 * (6 * 43 + 6), 4 * 43 + 16)


def test_colour_goes_and_comes_back() -> None:
    colours = (255 * torch.rand(3, 4, 5)).round()
    item = LuminancePictured("second", "colour")({"second": colours})
    assert item["second"].shape == (1, 4, 5)
    again = ColourReturnedd("pred")({**item, "pred": item["second"]})["pred"]
    assert torch.allclose(again, colours, atol=1e-3)
    grey = LuminancePictured("second", "colour")({"second": colours[:1]})
    assert ColourReturnedd("pred")({**grey, "pred": grey["second"]})["pred"].shape == (1, 4, 5)


def test_a_case_is_listed_at_each_acceleration() -> None:
    items = repeated([{"case": "a", "group": "p"}], "acceleration", [4, 8], "x")
    assert [(i["case"], i["acceleration"], i["site"], i["group"]) for i in items] == [
        ("a_4x", 4.0, "4x", "p"),
        ("a_8x", 8.0, "8x", "p"),
    ]
