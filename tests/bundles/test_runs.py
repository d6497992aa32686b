"""The real command line, from a foreign folder, on small data: train, resume, evaluate, infer, refuse."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from tests.bundles.conftest import BUNDLES, NAMES, metadata
from tests.bundles.several_files import WRITTEN, faulty_input, first_input, first_two

SEGMENTATION = [name for name in NAMES if name.endswith("segmentation")]
VOLUMES = [n for n in SEGMENTATION if len(metadata(n)["network_data_format"]["inputs"]["image"]["spatial_shape"]) == 3]
PICTURES = [name for name in SEGMENTATION if name not in VOLUMES]
# what the file of a result is called
RESTORED = {"superresolution": "_x2.png", "reconstruction": "_reconstruction.png", "fusion": "_fused.png"}
QUICK = {"epochs": 1, "val_interval": 1}


def results(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.rglob(f"*{suffix}") if path.is_file())


@pytest.mark.parametrize("name", NAMES)
def test_train_then_evaluate(name: str, bundle_copy, bundle_run, small_data) -> None:
    root, data = bundle_copy(name), small_data(name)
    before = (root / "models" / "model.pt").stat().st_mtime_ns
    bundle_run(root, "train.json", fresh=True, dataset_dir=data, **QUICK)
    weights = root / "models" / "model.pt"
    assert weights.stat().st_mtime_ns > before
    torch.load(weights, map_location="cpu", weights_only=True)
    bundle_run(root, "train.json", "evaluate.json", dataset_dir=data)
    metrics = json.loads((root / "eval" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics


@pytest.mark.parametrize("name", NAMES)
def test_training_survives_a_kill(name: str, bundle_copy, bundle_run, small_data) -> None:
    root, data = bundle_copy(name), small_data(name)
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(root), "--dataset_dir", str(data)]
    command += ["--config_file", str(root / "configs" / "train.json"), "--epochs", "1000", "--val_interval", "1"]
    state = root / "models" / "last.pt"
    process = subprocess.Popen(command, cwd=root.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 300
        while not state.is_file() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = torch.load(state, map_location="cpu", weights_only=True)["epoch"]
    assert done >= 1
    bundle_run(root, "train.json", dataset_dir=data, resume=True, epochs=done + 1, val_interval=1)
    assert torch.load(state, map_location="cpu", weights_only=True)["epoch"] == done + 1
    assert not [path for path in (root / "models").iterdir() if path.name not in {"model.pt", "last.pt"}]


@pytest.mark.parametrize("name", VOLUMES)
def test_segmentation_lies_on_the_grid_of_the_input(name: str, bundle_run, small_data, tmp_path: Path) -> None:
    source = nib.load(results(small_data(name) / "images", ".nii.gz")[0])
    affine = np.array([[0, 0, -1.2, 5.0], [0.9, 0, 0, -3.0], [0, 1.0, 0, 7.0], [0, 0, 0, 1]])  # turned and anisotropic
    image = tmp_path / "turned.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(source.dataobj), affine), image)
    root = BUNDLES / name
    run = bundle_run(root, "inference.json", image=image, output_dir=tmp_path / "out", overlay=True)
    segmentation = nib.load(results(tmp_path / "out", ".nii.gz")[0])
    assert segmentation.shape == source.shape and np.allclose(segmentation.affine, affine, atol=1e-4)
    classes = metadata(name)["network_data_format"]["outputs"]["pred"]["num_channels"]
    assert set(np.unique(np.asarray(segmentation.dataobj))) <= set(range(classes))
    assert results(tmp_path / "out", ".png") and "ml" in run.stdout + run.stderr


@pytest.mark.parametrize("name", PICTURES)
def test_segmentation_has_the_size_of_the_picture(name: str, bundle_run, small_data, tmp_path: Path) -> None:
    source = Image.open(results(small_data(name) / "images", ".png")[0])
    image = tmp_path / "tall.png"
    source.convert("RGBA").crop((0, 0, 61, 96)).save(image)
    bundle_run(BUNDLES / name, "inference.json", image=image, output_dir=tmp_path / "out", overlay=True)
    assert Image.open(tmp_path / "out" / "tall_seg.png").size == (61, 96)
    assert (tmp_path / "out" / "tall_overlay.png").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_inference_on_a_folder_from_elsewhere(name: str, bundle_run, small_data, tmp_path: Path) -> None:
    root = BUNDLES / name
    folder, count = first_two(small_data(name), name, tmp_path)
    bundle_run(root, "inference.json", dataset_dir=folder, output_dir=tmp_path / "out")
    kind = name.rpartition("_")[2]
    if kind in WRITTEN:
        assert len(results(tmp_path / "out", WRITTEN[kind])) == count
        return
    if kind in RESTORED:
        assert len(results(tmp_path / "out", RESTORED[kind])) == 2
    elif name in SEGMENTATION:
        assert len(results(tmp_path / "out", "_seg.nii.gz" if name in VOLUMES else "_seg.png")) == 2
    else:
        table = (results(tmp_path / "out", ".csv") + results(tmp_path / "out", ".json"))[0].read_text(encoding="utf-8")
        assert sum(path.stem.partition("_ED")[0] in table for path in (tmp_path / "images").iterdir()) == count


def write_faulty(path: Path, fault: str, volume: bool) -> None:
    array = np.random.default_rng(0).normal(size=(34, 50, 36)).astype(np.float32)
    if fault == "nan":
        array[3, 4] = np.nan
    if volume or fault == "nan":
        nib.save(nib.Nifti1Image(array if volume else array[:, :, :1], np.eye(4)), path)
    else:
        Image.fromarray((array[..., 0] * 50 + 100).clip(0, 255).astype(np.uint8)).save(path)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if fault == "missing":
        path.unlink()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["missing", "truncated", "nan"])
def test_a_faulty_image_is_refused_in_one_sentence(name: str, fault: str, bundle_run, tmp_path: Path) -> None:
    root = BUNDLES / name
    volume = name in VOLUMES
    image = tmp_path / ("case.nii.gz" if volume or fault == "nan" else "case.png")
    write_faulty(image, fault, volume)
    given = faulty_input(image, name)
    run = bundle_run(root, "inference.json", check=False, **given, output_dir=tmp_path / "out")
    assert_refused(run, image.name)
    assert results(tmp_path / "out", "") == []


def assert_refused(run: subprocess.CompletedProcess[str], *words: str) -> None:
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode not in (0, -signal.SIGKILL)
    assert last.startswith("error: ") and all(word in last for word in words), run.stderr[-2000:]
    assert "Traceback" not in run.stderr, run.stderr[-2000:]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["truncated", "foreign network"])
def test_a_faulty_checkpoint_is_refused_in_one_sentence(
    name: str, fault: str, bundle_copy, bundle_run, small_data, tmp_path: Path
) -> None:
    root = bundle_copy(name)
    weights = root / "models" / "model.pt"
    if fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        torch.save({"some.weight": torch.zeros(3)}, weights)
    given = first_input(small_data(name), name)
    run = bundle_run(root, "inference.json", check=False, **given, output_dir=tmp_path / "out")
    assert_refused(run, "model.pt")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_data_folder_is_refused_in_one_sentence(name: str, bundle_copy, bundle_run, tmp_path: Path) -> None:
    root = bundle_copy(name)
    for dataset_dir in (tmp_path / "nowhere", tmp_path):
        run = bundle_run(root, "train.json", check=False, dataset_dir=dataset_dir)
        assert_refused(run, str(dataset_dir))


def limited(command: list[str], folder: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """Run with a limit on the size of a file: writing past it fails as on a full disk."""

    def lower() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(command, cwd=folder, capture_output=True, text=True, preexec_fn=lower, timeout=900)


@pytest.mark.skipif(os.name != "posix", reason="file size limits exist on POSIX systems only")
@pytest.mark.parametrize("name", VOLUMES)
def test_a_full_disk_while_saving_leaves_nothing_half_written(
    name: str, bundle_copy, small_data, tmp_path: Path
) -> None:
    root, image = bundle_copy(name), results(small_data(name) / "images", ".nii.gz")[0]
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(root)]
    infer = [*command, "--config_file", str(root / "configs" / "inference.json"), "--image", str(image)]
    run = limited([*infer, "--output_dir", str(tmp_path / "out")], tmp_path, 100)
    assert_refused(run, str(tmp_path / "out"))
    assert results(tmp_path / "out", "") == []
    before = (root / "models" / "model.pt").read_bytes()
    train = [*command, "--config_file", str(root / "configs" / "train.json"), "--dataset_dir", str(small_data(name))]
    run = limited([*train, "--epochs", "1", "--val_interval", "1"], tmp_path, 100_000)
    assert_refused(run, "models")
    assert (root / "models" / "model.pt").read_bytes() == before
    assert [path.name for path in (root / "models").iterdir()] == ["model.pt"]
