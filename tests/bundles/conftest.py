"""Small data sets in the bundles' layouts, and a runner of the real command line from a foreign folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = sorted(folder.name for folder in BUNDLES.iterdir() if (folder / "configs" / "metadata.json").is_file())
SECTIONS = {"train": 4, "val": 2, "test": 2}


def metadata(name: str) -> dict:
    return json.loads((BUNDLES / name / "configs" / "metadata.json").read_text(encoding="utf-8"))


def shipped_split(name: str) -> dict[str, list[str]]:
    """The first cases of each section of the bundle's own split list."""
    split = json.loads((BUNDLES / name / "configs" / "splits.json").read_text(encoding="utf-8"))
    return {section: balanced(split[section], count) for section, count in SECTIONS.items()}


def balanced(cases: list[str], count: int) -> list[str]:
    """Cases of as many classes as possible (the class is the name before the last underscore)."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(case.rsplit("_", 1)[0], []).append(case)
    rounds = [group[i] for i in range(count) for group in groups.values() if i < len(group)]
    return rounds[: max(count, len(groups))]


def write_hippocampus(folder: Path, name: str) -> None:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (34, 50, 36)), indexing="ij"))
    rng = np.random.default_rng(0)
    for case in sum(shipped_split(name).values(), []):
        centre = rng.uniform(-0.2, 0.2, (3, 1, 1, 1))
        inside = ((grid - centre) ** 2 / np.array([0.2, 0.5, 0.2]).reshape(3, 1, 1, 1) ** 2).sum(0) < 1
        label = np.where(inside, np.where(grid[1] > centre[1], 1, 2), 0).astype(np.uint8)
        image = (100 * (label > 0) + 20 * rng.normal(size=label.shape) + 200).astype(np.float32)
        for part, array in (("images", image), ("labels", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / part / f"{case}.nii.gz")


def write_ultrasound(folder: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for case in sum(shipped_split(name).values(), []):
        picture = rng.integers(0, 120, (96, 128)).astype(np.uint8)
        if not case.startswith("normal"):
            picture[30:60, 40:80] += 100
        Image.fromarray(picture).save(folder / "images" / f"{case}.png")


WRITERS: dict[str, Callable[[Path, str], None]] = {"hippocampus": write_hippocampus, "ultrasound": write_ultrasound}


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a folder with a handful of made-up cases, in the layout that the bundle's train.json reads."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("data")
            next(write for word, write in WRITERS.items() if word in name)(made[name], name)
        return made[name]

    return folder


@pytest.fixture()
def bundle_copy(tmp_path: Path) -> Callable[[str], Path]:
    """Give a private copy of a bundle, so that a test may write into it."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(BUNDLES / name, tmp_path / name))

    return copy


@pytest.fixture()
def bundle_run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m monai.bundle run`` from an empty foreign folder."""
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()

    def run(root: Path, *configs: str, check: bool = True, **override: object) -> subprocess.CompletedProcess[str]:
        files = [str(root / "configs" / config) for config in configs]
        command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(root)]
        command += ["--config_file", files[0] if len(files) == 1 else str(files)]
        for key, value in override.items():
            command += [f"--{key}", str(value)]
        result = subprocess.run(
            command,
            cwd=foreign,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "2"},
            timeout=900,
        )
        if check:
            assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result

    return run
