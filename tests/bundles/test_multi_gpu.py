"""The multi-GPU configs with two processes: on a CPU they talk through gloo, as they would through NCCL."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.bundles.conftest import NAMES
from tests.bundles.test_cohort import children

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
CLASSIFICATION = [name for name in NAMES if name.endswith("classification")][:1]
HIPPOCAMPUS = [name for name in NAMES if "hippocampus" in name]


def command(root: Path, data: Path, processes: int, **override: object) -> list[str]:
    """The command line of a training with one process, or of several under torchrun."""
    files = ["train.json"] + (["multi_gpu_train.json"] if processes > 1 else [])
    paths = [str(root / "configs" / file) for file in files]
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    arguments = ["-m", "monai.bundle", "run", "--bundle_root", str(root), "--dataset_dir", str(data)]
    arguments += ["--config_file", str(paths)]
    arguments += [word for key, value in override.items() for word in (f"--{key}", str(value))]
    return [sys.executable, *start, *arguments]


def run(line: list[str], folder: Path) -> str:
    done = subprocess.run(line, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def state(root: Path) -> dict:
    return torch.load(root / "models" / "last.pt", map_location="cpu", weights_only=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes of torchrun in /proc")
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_a_killed_process_ends_the_training_and_it_resumes(name: str, bundle_copy, small_data, tmp_path: Path) -> None:
    root, data = bundle_copy(name), small_data(name)
    before = torch.load(root / "models" / "model.pt", map_location="cpu", weights_only=True)
    last = root / "models" / "last.pt"
    line = command(root, data, 2, epochs=1000, batch_size=2, val_interval=1)
    process = subprocess.Popen(line, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 300
        while not last.is_file() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        others = children(process.pid)
        os.kill(others.pop(), signal.SIGKILL)
        assert process.wait(120) != 0
    finally:
        process.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in others), "a process of the run was left behind"
    done = state(root)["epoch"]
    said = run(command(root, data, 2, epochs=done + 1, batch_size=2, val_interval=1, resume=True), tmp_path)
    assert state(root)["epoch"] == done + 1
    # four cases in batches of two: one step when each process takes half, and all validate on everything
    assert "Iter: 1/1" in said
    assert len(set(re.findall(r"new best metric of \w+: (\S+)", said))) <= 1, said[-4000:]
    after = torch.load(root / "models" / "model.pt", map_location="cpu", weights_only=True)
    assert after.keys() == before.keys()


@pytest.mark.parametrize("name", HIPPOCAMPUS)
def test_two_processes_step_as_one_with_the_doubled_batch(name: str, bundle_copy, small_data, tmp_path: Path) -> None:
    root, data = bundle_copy(name), small_data(name)
    start = torch.load(root / "models" / "model.pt", map_location="cpu", weights_only=True)
    # plain steps on whole images: random transforms would differ, and Adam magnifies the order of sums
    plain = {
        "train#preprocessing#transforms": "@train#deterministic_transforms",
        "loss#loss#batch": False,
        "optimizer#_target_": "torch.optim.SGD",
        "learning_rate": 0.1,
        "load_pretrain": True,
        "epochs": 3,
        "val_interval": 3,
    }
    found = []
    for processes in (1, 2):
        run(command(root, data, processes, batch_size=4 // processes, **plain), tmp_path)
        found.append({key.removeprefix("module."): value for key, value in state(root)["network"].items()})
        torch.save(start, root / "models" / "model.pt")
    alone, together = found
    assert alone.keys() == together.keys()
    moved = max(float((alone[key] - start[key]).abs().max()) for key in alone)
    apart = max(float((alone[key] - together[key]).abs().max()) for key in alone)
    assert moved > 1e-3 and apart < 0.01 * moved, (moved, apart)
