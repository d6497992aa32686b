"""Dose of radiotherapy: input, sampler, training batches, the challenge's scores, readers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.schedulers import DDIMScheduler

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets import input_plans, planned_doses
from medmamba_monai.collection.datasets.doses import PARTS, TARGETS, doses_from_tables
from medmamba_monai.collection.datasets.head_neck import TABLES
from medmamba_monai.collection.dose import (
    DoseDiffusion,
    DoseInBodyd,
    NoisyDose,
    PlanInput,
    negative_dose_error,
)
from medmamba_monai.collection.dose_report import DoseReport, dose_statistics

FOLDERS = ("images", "labels", *PARTS)


def scheduler(kind: str = "sample") -> DDIMScheduler:
    return DDIMScheduler(100, prediction_type=kind, clip_sample_min=0.0, clip_sample_max=1.2)


class Oracle(torch.nn.Module):
    """Knows the dose, which is the first channel of the anatomy, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        self.seen.append(int(timesteps[0]))
        return context[:, :1] + 0 * x


def test_the_sampler_ends_at_the_predicted_dose() -> None:
    network = Oracle()
    sampler = DoseDiffusion(network, scheduler(), 4)
    anatomy = torch.rand(2, 3, 70, 9)
    assert torch.allclose(sampler(anatomy), anatomy[:, :1], atol=1e-5)
    assert network.seen == [99, 74, 49, 24]
    assert not sampler.state_dict()
    assert torch.equal(sampler(anatomy, noisy=anatomy[:, 1:2], timesteps=torch.tensor([5, 5])), anatomy[:, :1])
    assert network.seen[-1] == 5
    # on its way the dose has the noise that its step expects
    level, x = 74, torch.zeros(1, 1, 4, 4)
    stepped, _ = sampler.scheduler.step(torch.ones_like(x), 99, x)
    share = sampler.scheduler.alphas_cumprod[[99, level]]
    expected = share[1].sqrt() + (1 - share[1]).sqrt() * (0 - share[0].sqrt()) / (1 - share[0]).sqrt()
    assert torch.allclose(stepped, expected.expand_as(x))
    with pytest.raises(ValueError, match="steps is 3: give a divisor"):
        DoseDiffusion(network, scheduler(), 3)
    with pytest.raises(ValueError, match="predicts epsilon: give prediction_type 'sample'"):
        DoseDiffusion(network, scheduler("epsilon"), 4)


def test_a_training_batch_has_noise_of_its_step() -> None:
    torch.manual_seed(0)
    label = torch.ones(64, 2, 6, 6)
    image, target, _, more = NoisyDose(scheduler())({"image": label, "label": label})
    assert torch.equal(image, label) and torch.equal(target, label)
    kept = scheduler().alphas_cumprod[more["timesteps"]].sqrt()
    assert float((more["noisy"].mean((1, 2, 3)) - kept).abs().mean()) < 0.2
    assert len(more["timesteps"].unique()) > 20


def test_the_input_of_a_plan() -> None:
    targets = torch.zeros(1, 9, 9, 9)
    targets[:, 4, 4, 4] = 1
    ct = MetaTensor(torch.full((1, 9, 9, 9), 110.0), affine=torch.diag(torch.tensor([10.0, 10.0, 5.0, 1.0])))
    ct[:, 0] = -1000
    found = PlanInput()({"image": ct, "label": targets * 3, "ptv": targets, "dose": targets * 56})
    image, label = found["image"], found["label"]
    assert image.shape == (8, 9, 9, 9) and label.shape == (2, 9, 9, 9)
    assert float(image[0, 1, 0, 0]) == 0.5 and float(image[0, 0, 0, 0]) == 0
    assert image[1:6].sum((1, 2, 3)).tolist() == [0, 0, 1, 0, 0]
    assert abs(float(image[6, 4, 4, 4]) - 0.8) < 1e-6
    assert np.allclose([image[7, 4, 4, 4], image[7, 4, 4, 2], image[7, 2, 4, 4], image[7, 8, 4, 4]], [1, 0.75, 0.5, 0])
    assert torch.equal(torch.as_tensor(image.affine), torch.as_tensor(ct.affine))
    assert abs(float(label[0].max()) - 0.8) < 1e-6 and label[1].unique().tolist() == [0, 1]
    assert PlanInput()({"image": ct, "label": targets, "ptv": targets * 0})["image"][6:].sum() == 0


def test_the_numbers_of_dose_and_volume() -> None:
    dose = np.arange(1000, dtype=float)
    organs, targets = (dose < 500).astype(int), 2 * (dose >= 500).astype(int)
    found = dose_statistics(dose, organs, targets, 20.0, ["cord", "low", "high"])
    # a tenth of a cubic centimetre is five of these voxels
    assert found["cord mean"] == 249.5 and abs(found["cord D0.1cc"] - 494.01) < 0.01
    assert set(found) == {"cord mean", "cord D0.1cc", "high D99", "high D95", "high D1"}
    assert abs(found["high D99"] - 504.99) < 0.01 and abs(found["high D1"] - 994.01) < 0.01
    # of large voxels it is the highest one, by the challenge's percentile
    assert abs(dose_statistics(dose, organs, targets, 1e6, ["cord", "low", "high"])["cord D0.1cc"] - 498) < 0.01


def test_the_report_and_what_it_measures(tmp_path: Path) -> None:
    ct = MetaTensor(torch.zeros(1, 8, 8, 8), affine=torch.eye(4))
    ct[:, :2] = -1000
    organs, targets = torch.zeros(1, 8, 8, 8), torch.zeros(1, 8, 8, 8)
    organs[:, 2:4], targets[:, 4:] = 1, 1
    planned = MetaTensor(torch.full((1, 8, 8, 8), 30.0), affine=torch.eye(4))
    item: Any = {"pred": torch.full((1, 8, 8, 8), 33 / 70), "ct": ct, "planned": planned}
    item = DoseInBodyd("pred", "ct", "planned")(item)
    assert float(item["pred"][0, 0, 0, 0]) == 0 and abs(float(item["pred"][0, 2, 0, 0]) - 33) < 1e-4
    scaled = item["measured"][None] / torch.tensor([70.0, 1.0]).reshape(1, 2, 1, 1, 1)
    assert abs(float(negative_dose_error(item["pred"][None] / 70, scaled)) + 3) < 1e-4
    report = DoseReport(tmp_path, ["cord", "PTV70"], "patients")
    both: Any = {"ct": ct, "targets": targets, "planned": planned}
    batch = [{"case": n, "group": n, "organs": organs * (n == "a"), **both} for n in "ab"]
    engine: Any = SimpleNamespace(state=SimpleNamespace(batch=batch, output=[{"pred": item["pred"]}] * 2))
    report._begin(engine)
    report._collect(engine)
    report._write(engine)
    found = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert [found[name]["value"] for name in ("dose_score", "dvh_score", "dvh_score_cord")] == [3, 3, 3]
    assert (tmp_path / "pictures" / "worst.png").is_file()


def test_the_readers(tmp_path: Path) -> None:
    for part in FOLDERS:
        (tmp_path / part).mkdir()
        (tmp_path / part / "pt_1.nii.gz").write_bytes(b"")
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"train": ["pt_1"], "val": [], "test": []}))
    (item,) = planned_doses(tmp_path, "train", lists)
    assert {Path(str(item[key])).parent.name for key in ("image", "label", "ptv", "dose")} == set(FOLDERS)
    files = [str(item[key]) for key in ("image", "label", "ptv")]
    (found,) = input_plans("", "", "", tmp_path)
    assert found == {"image": files[0], "label": files[1], "ptv": files[2], "case": "pt_1"}
    assert input_plans(*files, "") == [found]
    with pytest.raises(InputError, match="targets '.' does not exist"):
        input_plans(files[0], files[1], "", "")
    (tmp_path / "ptv" / "pt_1.nii.gz").unlink()
    with pytest.raises(InputError, match="'pt_1' is not in .*ptv"):
        input_plans("", "", "", tmp_path)
    with pytest.raises(InputError, match="has no ptv/pt_1: run"):
        planned_doses(tmp_path, "train", lists)


def test_the_publishers_tables(tmp_path: Path) -> None:
    patient = tmp_path / "download" / "pt_1"
    patient.mkdir(parents=True)
    (patient / "voxel_dimensions.csv").write_text("4.0\n4.0\n2.5\n")
    tables = {name: ",\n7,\n" for name in (*TABLES, *TARGETS[:1], TARGETS[2])}
    for name, rows in {**tables, "ct": ",data\n0,1024\n", "dose": ",data\n129,33.5\n"}.items():
        (patient / f"{name}.csv").write_text(rows)
    assert doses_from_tables(tmp_path / "download", tmp_path / "dest", {"pt_1"})
    dose, targets = (nib.load(tmp_path / "dest" / part / "pt_1.nii.gz") for part in ("dose", "ptv"))
    assert float(dose.dataobj[0, 1, 1]) == 33.5 and dose.get_fdata().sum() == 33.5
    assert int(targets.dataobj[0, 0, 7]) == 3
    (patient / "dose.csv").unlink()
    with pytest.raises(InputError, match=r"no dose\.csv"):
        doses_from_tables(tmp_path / "download", tmp_path / "other", {"pt_1"})
    assert not doses_from_tables(tmp_path / "dest", tmp_path / "other", {"pt_1"})
