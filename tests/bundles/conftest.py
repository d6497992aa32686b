"""Small data sets in the bundles' layouts, and a runner of the real command line from a foreign folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.bundles.forked import LIMIT, LoadedProcess
from tests.bundles.several_files import HEARTS, paired, write_hearts, write_plans

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = sorted(folder.name for folder in BUNDLES.iterdir() if (folder / "configs" / "metadata.json").is_file())
SECTIONS = {"train": 4, "val": 2, "test": 2}


def metadata(name: str) -> dict:
    return json.loads((BUNDLES / name / "configs" / "metadata.json").read_text(encoding="utf-8"))


def shipped_split(name: str) -> dict[str, list[str]]:
    """Some cases of each section of the bundle's own split list, of every class where there are classes."""
    split = json.loads((BUNDLES / name / "configs" / "splits.json").read_text(encoding="utf-8"))
    if name.endswith("registration"):
        return paired(split, SECTIONS)
    if not name.endswith("classification"):
        return {section: split[section][:count] for section, count in SECTIONS.items()}
    return {section: balanced(split[section], count, split.get("labels", {})) for section, count in SECTIONS.items()}


def balanced(cases: list[str], count: int, labels: dict[str, str]) -> list[str]:
    """Cases of all classes (a case that no label names has its class before the last underscore)."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(labels.get(case, case.rsplit("_", 1)[0]), []).append(case)
    rounds = [group[i] for i in range(count) for group in groups.values() if i < len(group)]
    return rounds[: max(count, len(groups))]


def write_volumes(folder: Path, name: str) -> None:
    """Noise with one box an organ, in a row, on a grid that fits the bundle."""
    size, voxel = next(grid for word, grid in GRIDS.items() if word in name)
    organs = len(metadata(name)["network_data_format"]["outputs"]["pred"]["channel_def"]) - 1
    rng = np.random.default_rng(0)
    for case in sum(shipped_split(name).values(), []):
        label = np.zeros(size, np.uint8)
        shift = int(rng.integers(0, 3))
        for organ, place in enumerate(np.linspace(0, size[0], organs + 2)[1:-1].astype(int), start=1):
            label[place - 2 : place + 3, size[1] // 3 + shift : size[1] // 2 + 5, 1:-1] = organ
        image = (100 * label + 20 * rng.normal(size=size) + 200).astype(np.float32)
        for part, array in (("images", image), ("labels", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([*voxel, 1.0])), folder / part / f"{case}.nii.gz")


GRIDS = {
    "hippocampus": ((30, 38, 30), (1.0, 1.0, 1.0)),
    "acdc": ((100, 98, 7), (1.5, 1.5, 10.0)),
    "headneck": ((60, 50, 44), (4.0, 4.0, 3.0)),
}


def write_outlined_pictures(folder: Path, name: str) -> None:
    """Colour pictures with two bright squares, numbered 1 and 2 where the bundle tells objects apart."""
    rng = np.random.default_rng(0)
    for case in sum(shipped_split(name).values(), []):
        label = np.zeros((96, 128), np.uint16)
        for number, column in enumerate((20, 70), start=1):
            label[30:50, column : column + 20] = number if any(word in name for word in COUNTED) else 255
        picture = rng.integers(0, 100, (96, 128, 3)) + 120 * (label[..., None] > 0)
        for part, array in (("images", picture.astype(np.uint8)), ("labels", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / part / f"{case}.png")


OUTLINED = ("polyp", "nuclei", "retina", "cardiac", "fetalhead", "gland")
COUNTED = ("nuclei", "gland")


def write_pictures(folder: Path, name: str) -> None:
    """Noise with a square, in as many colours as the bundle reads."""
    rng = np.random.default_rng(0)
    colours = metadata(name)["network_data_format"]["inputs"]["image"]["num_channels"]
    (folder / "images").mkdir(parents=True)
    for case in sum(shipped_split(name).values(), []):
        picture = rng.integers(0, 120, (96, 128, colours)).astype(np.uint8)
        picture[30:60, 40:80] += 100
        Image.fromarray(picture.squeeze()).save(folder / "images" / f"{case}.png")


def write_pairs(folder: Path, name: str) -> None:
    """Noise with a square at one place in both pictures, of which the second is in colour."""
    rng = np.random.default_rng(0)
    for case in sum(shipped_split(name).values(), []):
        for part, colours in (("images", 1), ("second", 3)):
            picture = rng.integers(0, 120, (96, 128, colours)).astype(np.uint8)
            picture[30:60, 40:80] += 100
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.squeeze()).save(folder / part / f"{case}.png")


WRITERS: dict[str, Callable[[Path, str], None]] = {
    HEARTS: lambda folder, name: write_hearts(folder, sum(shipped_split(name).values(), [])),
    "_dose": lambda folder, name: write_plans(folder, sum(shipped_split(name).values(), [])),
    "fusion": write_pairs,
    **dict.fromkeys(GRIDS, write_volumes),
    **dict.fromkeys(OUTLINED, write_outlined_pictures),
    "classification": write_pictures,
}


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


@pytest.fixture(scope="session")
def loaded_process() -> Iterator[LoadedProcess | None]:
    """Give a process that runs bundles by forking, where the system can fork."""
    if not hasattr(os, "fork"):
        yield None
        return
    process = LoadedProcess()
    yield process
    process.close()


@pytest.fixture()
def bundle_run(tmp_path: Path, loaded_process: LoadedProcess | None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m monai.bundle run`` from an empty foreign folder; ``fresh`` asks for a process of its own."""
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()

    def run(
        root: Path, *configs: str, check: bool = True, fresh: bool = False, **override: object
    ) -> subprocess.CompletedProcess[str]:
        files = [str(root / "configs" / config) for config in configs]
        arguments = ["run", "--bundle_root", str(root), "--config_file", files[0] if len(files) == 1 else str(files)]
        for key, value in override.items():
            arguments += [f"--{key}", str(value)]
        if fresh or loaded_process is None:
            result = subprocess.run(
                [sys.executable, "-m", "monai.bundle", *arguments],
                cwd=foreign,
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                timeout=LIMIT,
            )
        else:
            result = loaded_process.run(arguments, foreign)
        if check:
            assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result

    return run
