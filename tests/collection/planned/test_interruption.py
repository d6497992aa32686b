"""A training that is killed goes on where it stopped, with the numbers of one that was not; one process a folder."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from monai.utils import set_determinism

from medmamba_monai import weights
from medmamba_monai.__main__ import main
from tests.autoconfig.conftest import pictures
from tests.collection.planned.test_planned_bundle import PICTURES, files

ROOT = Path(__file__).resolve().parents[3]
NAME = "umamba_squares_segmentation"
EPOCHS = 12
LIMIT = 900  # seconds
GIVEN = {
    **PICTURES,
    "configuration.features": [4, 8],
    "configuration.strides": [[1, 1], [2, 2]],
    "configuration.kernel_sizes": [[3, 3], [3, 3]],
    "training.epochs": EPOCHS,
    "training.iterations_per_epoch": 1,
    "training.validate_every": 5,
}
PROGRAM = """
import sys
from medmamba_monai.__main__ import main
cut = sys.argv.index("train")
sys.exit(main(sys.argv[1:cut]) or main(sys.argv[cut:]))
"""

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


@pytest.fixture(autouse=True)
def no_fixed_seed() -> Iterator[None]:
    yield
    set_determinism(None)


def planning(data: Path, root: Path) -> list[str]:
    values = [part for name, value in GIVEN.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    return ["plan", str(data), "--output", str(root), "--cpu-cores", "1", "--hours", "1", *values]


def wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + LIMIT
    while not file.is_file():
        assert process.poll() is None and time.monotonic() < end, "the training ended before its first epoch"
        time.sleep(0.02)


def history(root: Path) -> list[list[str]]:
    with open(root / "eval" / "fold_0" / "history.csv", newline="", encoding="utf-8") as stream:
        return [row[:3] for row in csv.reader(stream)]  # the last column is the time


def test_killed_and_taken_up_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    data, root, whole = pictures(tmp_path / "data", cases=6), tmp_path / "killed" / NAME, tmp_path / "whole" / NAME
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    state = root / "models" / "fold_0" / "last.pt"
    command = [sys.executable, "-c", PROGRAM, *planning(data, root), "train", str(root)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(state, process)
        assert main(["train", str(root)]) == 1
        told = capsys.readouterr().err
        assert told == f"error: another process works on {root}: wait until it ends, or stop it\n"
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    done = int(weights.read(state)["epoch"])
    assert 1 <= done < EPOCHS

    assert main(planning(data, whole)) == 0
    planned = files(whole)  # by another process, under another hash seed
    assert {name: text for name, text in files(root).items() if name in planned} == planned
    assert main(["train", str(root)]) == 0
    assert f"fold 0: goes on after epoch {done} of {EPOCHS}" in capsys.readouterr().out
    assert main(["train", str(whole)]) == 0
    assert history(root) == history(whole) and len(history(whole)) == EPOCHS + 1
    ours, theirs = (weights.read(place / "models" / "model.pt") for place in (root, whole))
    assert set(ours) == set(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)
