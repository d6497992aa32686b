"""Lines of docs/cohorts.md that torchrun and the programs take; the job of an array shares out its tasks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from torch.distributed.run import parse_args

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "cohorts.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.replace("\\\n", "").splitlines()
]
TORCHRUN = [shlex.split(line)[1:] for line in LINES if line.startswith("torchrun ")]


def test_the_page_has_its_lines() -> None:
    assert [line.split()[0] for line in LINES] == ["python", "torchrun", "torchrun", "sbatch", "torchrun", "torchrun"]


@pytest.mark.parametrize("words", TORCHRUN, ids=lambda words: words[0])
def test_torchrun_takes_a_line(words: list[str]) -> None:
    found = parse_args(words)
    assert found.module and found.training_script in ("medmamba_monai", "monai.bundle")
    assert found.standalone or (found.nnodes == "2" and found.rdzv_backend == "c10d" and ":" in found.rdzv_endpoint)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_each_task_of_an_array_is_a_process_of_the_cohort(tmp_path: Path) -> None:
    (line,) = (shlex.split(line) for line in LINES if line.startswith("sbatch "))
    job = DOCS.parent / line[2]
    count = int(line[1].removeprefix("--array=0-")) + 1
    # stands where the environment's python is, and says what it was told
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$RANK of $WORLD_SIZE: $*"\n')
    python.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    for task in (0, count - 1):
        given = environment | {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(count)}
        command = ["bash", str(job), *line[3:], "--overlay"]
        said = subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout.strip()
        words = "-m medmamba_monai cohort hippocampus --images scans --output results --overlay"
        assert said == f"{task} of {count}: {words}"
