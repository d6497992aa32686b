"""The sample command: a stand-in bundle with untrained weights shows the way of the files, bad input its refusals."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medmamba_monai.__main__ import main
from medmamba_monai.collection import sample
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.locate import TEMPLATE_CENTRES

AFFINE = np.array([[0.0, 0, -1, 30], [-1.2, 0, 0, 20], [0, 0.9, 0, -10], [0, 0, 0, 1]])  # stored as P, S, L


@pytest.fixture(scope="module")
def bundle(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copytree(root / "bundles" / sample.BUNDLE / "configs", folder / "configs")
    from medmamba_monai.networks import nets

    definition = json.loads((folder / "configs" / "inference.json").read_text())["network_def"]
    network = getattr(nets, definition.pop("_target_").rpartition(".")[2])(**definition)
    (folder / "models").mkdir()
    torch.save({"model": network.state_dict()}, folder / "models" / "model.pt")
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "input" / "crop.nii.gz"
    path.parent.mkdir()
    save(path, np.random.default_rng(0).normal(100, 20, (40, 36, 32)), AFFINE)
    return path


def save(path: Path, voxels: Any, affine: Any = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.asarray(voxels, np.float32), affine), path)
    return path


def test_own_crop(bundle: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "a folder" / "out"
    assert main(["sample", "hippocampus", "--image", str(image), "--output", str(output), "--bundle", str(bundle)]) == 0
    assert sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()) == [
        "crops/hippocampus.nii.gz", "hippocampus_overlay.png", "hippocampus_seg.nii.gz", "hippocampus_volumes.json",
        "overlay.png", "whole_seg.nii.gz",
    ]  # fmt: skip
    whole = nibabel.load(output / "whole_seg.nii.gz")
    assert whole.shape == (40, 36, 32)
    assert np.allclose(whole.affine, AFFINE)
    labels = np.asarray(whole.dataobj)
    assert set(np.unique(labels)) <= {0, 1, 2}
    text = capsys.readouterr().out
    assert "-m monai.bundle run" in text
    row = next(line for line in text.splitlines() if line.startswith("hippocampus"))
    voxel = 1.2 * 0.9 / 1000
    want = [(labels == 1).sum() * voxel, (labels == 2).sum() * voxel, (labels > 0).sum() * voxel]
    assert [float(value) for value in row.split()[1:]] == pytest.approx(want, abs=0.006)


def test_real_head_with_the_shipped_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main(["sample", "hippocampus", "--output", str(output)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("left ", "right "))]
    assert [row[0] for row in rows] == ["left", "right"]
    for side, anterior, posterior, total in rows:
        assert float(anterior) + float(posterior) == pytest.approx(float(total), abs=0.011)
        # published volumes of adult hippocampi lie between 2 and 5.5 ml
        assert 2.0 < float(total) < 5.5, side
    labels = nibabel.load(output / "whole_seg.nii.gz")
    template = sample.template()
    assert labels.shape == template.voxels.shape and np.allclose(labels.affine, template.affine)
    places = nibabel.affines.apply_affine(labels.affine, np.argwhere(np.asarray(labels.dataobj) > 0))
    for side, sign in (("left", -1), ("right", 1)):
        middle = places[np.sign(places[:, 0]) == sign].mean(0)
        assert np.abs(middle - TEMPLATE_CENTRES[side]).max() < 5, side


def test_places_in_a_head(bundle: Path, tmp_path: Path) -> None:
    head = save(tmp_path / "head.nii.gz", np.random.default_rng(0).normal(100, 20, (140, 110, 100)))
    output = tmp_path / "out"
    middle = (AFFINE @ np.array([60.0, 50, 45, 1]))[:3]
    arguments = ["sample", "hippocampus", "--image", str(head), "--output", str(output), "--bundle", str(bundle)]
    assert main([*arguments, "--left", *(f"{value:g}" for value in middle)]) == 0
    crop, labels = nibabel.load(output / "crops" / "left.nii.gz"), nibabel.load(output / "left_seg.nii.gz")
    assert crop.shape == labels.shape
    assert np.allclose(labels.affine, crop.affine)
    # the crop lies where it says: its voxels are the head's voxels at the same places in millimetres
    first = np.round(np.linalg.inv(AFFINE) @ crop.affine @ np.array([0, 0, 0, 1.0])).astype(int)[:3]
    box = tuple(slice(f, f + n) for f, n in zip(first, crop.shape, strict=True))
    assert np.allclose(crop.get_fdata(), nibabel.load(head).get_fdata()[box])
    whole = np.asarray(nibabel.load(output / "whole_seg.nii.gz").dataobj)
    assert (whole[box] == np.asarray(labels.dataobj)).all()
    assert whole.sum() == whole[box].sum()


def test_crop_has_the_size_of_the_training_crops() -> None:
    head = sample.Head(np.zeros((140, 110, 100), np.float32), AFFINE, "x")
    box = sample.crop_box(head, (-15.0, -52.0, 35.0), "left")
    # axes are stored as front-back (1.2 mm), up (0.9 mm), left (1 mm)
    assert [s.stop - s.start for s in box] == [round(50 / 1.2), round(36 / 0.9), 36]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p / "none.nii.gz", "does not exist"),
        (lambda p: (p / "empty.nii.gz").touch() or p / "empty.nii.gz", "is empty"),
        (lambda p: (p / "a.txt").write_text("x") and p / "a.txt", "is not a NIfTI file"),
        (lambda p: (p / "cut.nii.gz").write_bytes(b"\x1f\x8b" + bytes(50)) and p / "cut.nii.gz", "cannot be read"),
        (lambda p: save(p / "4d.nii.gz", np.ones((20, 20, 20, 5))), "has 5 channels"),
        (lambda p: save(p / "nan.nii.gz", np.full((20, 20, 20), np.nan)), "holds 8000 NaN or infinite voxels"),
        (lambda p: save(p / "flat.nii.gz", np.ones((20, 20, 20))), "is constant, every voxel is 1"),
        (lambda p: save(p / "thick.nii.gz", np.ones((20, 20, 20)), np.diag([1, 1, 5, 1])), "voxels of 1.0 x 1.0 x 5.0"),
    ],
    ids=["missing", "empty", "text", "truncated", "4d", "nan", "constant", "thick"],
)
def test_bad_image_is_one_sentence(
    make: Any, said: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = make(tmp_path), tmp_path / "out"
    arguments = ["sample", "hippocampus", "--image", str(path), "--output", str(output), "--bundle", str(bundle)]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert not output.exists()


def test_place_outside_of_the_image(bundle: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sample", "hippocampus", "--image", str(image), "--bundle", str(bundle), "--left", "500", "0", "0"]
    assert main(arguments) == 1
    assert "left hippocampus at (500, 0, 0) mm reaches out of the image" in capsys.readouterr().err


def test_bundle_that_is_none(bundle: Path, image: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no bundle in .*give --bundle FOLDER"):
        sample.find_bundle(str(tmp_path))
    shutil.copytree(bundle / "configs", tmp_path / "bare" / "configs")
    with pytest.raises(InputError, match="has no models/model.pt"):
        sample.find_bundle(str(tmp_path / "bare"))


def test_output_that_cannot_be_written(bundle: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = image / "out"  # a file is no folder
    arguments = ["sample", "hippocampus", "--image", str(image), "--output", str(output), "--bundle", str(bundle)]
    assert main(arguments) == 1
    assert "cannot write into" in capsys.readouterr().err


def test_failing_bundle_leaves_nothing(
    bundle: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, output = tmp_path / "broken", tmp_path / "out"
    shutil.copytree(bundle, broken)
    (broken / "models" / "model.pt").write_bytes(b"not a checkpoint")
    output.mkdir()
    (output / "overlay.png").write_text("an older result")
    arguments = ["sample", "hippocampus", "--image", str(image), "--output", str(output), "--bundle", str(broken)]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "model.pt" in captured.err and "Traceback" not in captured.err
    assert [(path.name, path.read_text()) for path in output.iterdir()] == [("overlay.png", "an older result")]


def test_full_disk_leaves_nothing(
    bundle: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(image: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(nibabel, "save", full)
    output = tmp_path / "out"
    arguments = ["sample", "hippocampus", "--image", str(image), "--output", str(output), "--bundle", str(bundle)]
    assert main(arguments) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(output.iterdir()) == []


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "nilearn" else object())
    assert main(["sample", "hippocampus"]) == 1
    assert capsys.readouterr().err == 'error: nilearn is not installed: pip install "medmamba-monai[sample]"\n'
