"""Made-up data of bundles that read more than one image, and how such bundles are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.card import summary
from medmamba_monai.collection.listing import best_peer
from medmamba_monai.collection.madeup import made_up_items
from medmamba_monai.collection.show import commands
from medmamba_monai.collection.wording import headline

CLASSES = ["near", "far"]


def bundle(folder: Path, kind: str, channels: int, size: list[int], outputs: int) -> Bundle:
    configs = folder / f"net_data_{kind}" / "configs"
    configs.mkdir(parents=True)
    image = {"num_channels": channels, "spatial_shape": size}
    pred = {"num_channels": outputs, "spatial_shape": size, "channel_def": {str(n): f"x{n}" for n in range(outputs)}}
    data = {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}}
    spacing = {"_target_": "Spacingd", "pixdim": "@spacing"}
    inference = {"image_size": size, "spacing": [2.0, 2.0, 3.0], "preprocessing": {"transforms": [spacing]}}
    evaluate = {"validate#handlers": [{"_target_": "StatsHandler"}, {"classes": CLASSES}]}
    for name, part in {"metadata": data, "inference": inference, "evaluate": evaluate}.items():
        (configs / f"{name}.json").write_text(json.dumps(part), encoding="utf-8")
    return Bundle(configs.parent)


def test_pairs(tmp_path: Path) -> None:
    found = bundle(tmp_path, "registration", 2, [16, 16, 12], 3)
    assert found.kind == "registration" and found.classes == CLASSES
    items = made_up_items(found, tmp_path, 3)
    assert [set(item) for item in items] == [{"fixed", "moving", "label", "carried", "case", "group"}] * 3
    assert items[1]["moving"] == items[0]["fixed"] and items[1]["carried"] == items[0]["label"]
    volume = nib.load(items[0]["fixed"])
    assert volume.shape == (16, 16, 12) and volume.header.get_zooms() == (2.0, 2.0, 3.0)
    assert sorted({int(n) for n in nib.load(items[0]["label"]).get_fdata().ravel()}) == [0, 1, 2]
    assert "--fixed IMAGE --moving IMAGE" in commands(found)["one pair"]


def test_plans(tmp_path: Path) -> None:
    found = bundle(tmp_path, "dose", 8, [32, 16], 1)
    (item,) = made_up_items(found, tmp_path, 1)
    sizes = {nib.load(item[key]).shape for key in ("image", "label", "ptv", "dose")}
    assert sizes == {(32, 16, 8)} and nib.load(item["dose"]).get_fdata().max() == 110
    assert "--image CT --organs MAP --targets MAP" in commands(found)["one image"]


@pytest.mark.parametrize(("own", "text"), [(2.5, "Dose score in Gy of Net"), (3.5, "Rival beats this bundle")])
def test_a_smaller_dose_score_is_better(own: float, text: str, tmp_path: Path) -> None:
    found = bundle(tmp_path, "dose", 8, [32, 16], 1)
    numbers = {"Net": own, "Rival": 3.0, "Worse": 4.0}
    values = {name: {"dose_score": dict.fromkeys(("value", "low", "high"), value)} for name, value in numbers.items()}
    entries: Any = {name: {"cases": 5, "metrics": metrics} for name, metrics in values.items()}
    for rival in ("Rival", "Worse"):
        entries[rival]["peer"] = "x.json"
    found.evaluation_file.parent.mkdir()
    found.evaluation_file.write_text(json.dumps(entries), encoding="utf-8")
    assert summary(found).startswith(text)
    best = best_peer({name: entries[name] for name in ("Rival", "Worse")}, "dose_score")
    assert best is not None and best[0] == "Rival"


def test_a_report_may_name_the_headline() -> None:
    numbers = {"auc_macro": {"value": 1.0}, "balanced_accuracy": {"value": 0.5}}
    assert headline({"metrics": numbers}) == "auc_macro"
    assert headline({"metrics": numbers, "headline": "balanced_accuracy"}) == "balanced_accuracy"
