"""Every command of docs/plan.md runs as it stands there; what it plans gets small sizes, so that training is short."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from monai.bundle import run
from monai.utils import set_determinism

from medmamba_monai.__main__ import main
from tests.autoconfig.conftest import decathlon
from tests.collection.planned.test_cascade import GIVEN
from tests.collection.planned.test_convert import results  # noqa: F401

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plan.md"
LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    for line in block.splitlines()
]
SPACING = "low_resolution.configuration.spacing"
SMALL = {name: value for name, value in GIVEN.items() if not name.startswith("low_resolution.")}
BUNDLE = "umamba_organs_segmentation"


def planned(line: str, **values: object) -> int:
    """Run a line that plans, with more values set."""
    more = [part for name, value in values.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    return main([*shlex.split(line)[3:], *more])


@pytest.fixture()
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").mkdir()
    return decathlon(tmp_path / "DATA", cases=2)


def test_the_page_has_these_commands() -> None:
    commands = [" ".join(line.split()[2:4]) for line in LINES]
    ours = [f"medmamba_monai {name}" for name in ("plan", "train", "plan", "plan", "convert", "convert")]
    assert commands == [*ours[:4], "monai.bundle run", *ours[4:]]


def test_plan_train_and_ensemble(data: Path, tmp_path: Path) -> None:
    assert planned(LINES[0], **SMALL) == 0
    assert main(shlex.split(LINES[1])[3:]) == 0
    shutil.move(BUNDLE, "BUNDLE")
    (tmp_path / "image.nii.gz").symlink_to(data / "imagesTr" / "case_0.nii.gz")
    words = shlex.split(LINES[4].replace("IMAGE", "image.nii.gz"))[4:]
    options = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
    files = ast.literal_eval(options.pop("config_file"))
    run(config_file=files, **options)
    set_determinism(None)
    assert (tmp_path / "OUT" / "image_seg.nii.gz").is_file()


def test_plan_with_given_values(data: Path) -> None:
    assert planned(LINES[2]) == 0
    plan = json.loads(Path(BUNDLE, "configs", "plan.json").read_text(encoding="utf-8"))
    assert (plan["network"], plan["training"]["epochs"], plan["inference"]["mirror"]) == ("umamba_encoder", 50, True)


def test_plan_of_a_cascade(data: Path) -> None:
    # volumes as small as these have a first stage only when its spacing is given
    assert planned(LINES[3], **{SPACING: GIVEN[SPACING]}) == 0
    assert Path(BUNDLE, "configs", "low_resolution", "train.json").is_file()


def test_convert_there_and_back(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    there, back = tmp_path / "there", tmp_path / "back"
    for place in (there, back):
        place.mkdir()
    shutil.copytree(results, there / results.name)
    monkeypatch.chdir(there)
    assert main(shlex.split(LINES[5])[3:]) == 0
    shutil.move(there / BUNDLE, back / BUNDLE)
    monkeypatch.chdir(back)
    assert main(shlex.split(LINES[6])[3:]) == 0
    assert sorted(path.name for path in (back / results.name).iterdir()) == sorted(p.name for p in results.iterdir())
