"""A cohort under torchrun: a killed process loses nothing, and nothing is done twice."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bundles.conftest import BUNDLES

COUNT = 24


def records(out: Path) -> dict[str, int]:
    """When each record was written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / ".records").glob("*.json")}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes of torchrun in /proc")
def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(rng.integers(0, 255, (90, 90, 3), np.uint8)).save(images / f"cell{number:02}.png")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max_restarts=1"]
    command += ["-m", "medmamba_monai", "cohort", "bloodcell", "--images", str(images), "--output", str(out)]
    command += ["--bundles", str(BUNDLES)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 300
            while not records(out) and process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            before = records(out)
            os.kill(children(process.pid)[-1], signal.SIGKILL)
            code = process.wait(300)
        finally:
            process.kill()
    said = (tmp_path / "log").read_text()
    assert code == 0, said[-3000:]
    assert 0 < len(before) < COUNT
    after = records(out)
    assert len(after) == COUNT and before.items() <= after.items()
    with open(out / "summary.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows] == [f"cell{number:02}" for number in range(COUNT)]
    assert not any(row["error"] for row in rows)
    assert sorted(path.name for path in out.iterdir()) == [".records", "summary.csv"]
