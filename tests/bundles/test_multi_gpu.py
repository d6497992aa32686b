"""The multi-GPU configs with two processes: on a CPU they talk through gloo, as they would through NCCL."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.bundles.conftest import NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("classification")][:1])
def test_two_processes_train_one_network(name: str, bundle_copy, small_data, tmp_path: Path) -> None:
    root = bundle_copy(name)
    weights = root / "models" / "model.pt"
    before = torch.load(weights, map_location="cpu", weights_only=True)
    files = [str(root / "configs" / file) for file in ("train.json", "multi_gpu_train.json")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "--bundle_root", str(root), "--dataset_dir", str(small_data(name))]
    command += ["--config_file", str(files), "--epochs", "1", "--batch_size", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    after = torch.load(weights, map_location="cpu", weights_only=True)
    assert after.keys() == before.keys()
    assert any(not torch.equal(after[key], before[key]) for key in after)
    # four cases in batches of two: one step when each process takes half, and all validate on everything
    assert "Iter: 1/1" in said
    metrics = re.findall(r"new best metric of \w+: (\S+)", said)
    assert len(metrics) == 2 and len(set(metrics)) == 1, said[-4000:]
