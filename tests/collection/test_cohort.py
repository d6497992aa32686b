"""A cohort in one process: what is done is skipped, faults stop nothing, the table comes once and whole."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from medmamba_monai.__main__ import main
from medmamba_monai.collection.bundles import CLONE, find_bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.cohort import Cohort, place

BUNDLE = "medmamba_bloodcell_microscopy_classification"


@pytest.fixture()
def images(tmp_path: Path) -> Path:
    """Three pictures and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (80, 70), (40 * number, 90, 120)).save(folder / f"cell{number}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


def table(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "summary.csv", newline="", encoding="utf-8") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_parts_meet_in_one_table(images: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    cohort = Cohort(find_bundle(BUNDLE, CLONE), images, out)
    assert cohort.run(0, 2) == {"done": 1, "done before": 0, "failed": 1}
    assert not cohort.summarise() and not (out / "summary.csv").exists()
    assert "broken failed" in capsys.readouterr().err
    (images / "broken.png").unlink()
    Image.new("RGB", (80, 70)).save(images / "broken.png")
    # the failed one is tried again, the others are left alone
    assert main(["cohort", BUNDLE, "--images", str(images), "--output", str(out)]) == 0
    assert "3 done, 1 done before, 0 failed" in capsys.readouterr().out
    rows = table(out)
    assert sorted(rows) == ["broken", "cell0", "cell1", "cell2"]
    for row in rows.values():
        assert not row["error"]
        assert abs(sum(float(row[name]) for name in find_bundle(BUNDLE, CLONE).classes) - 1) < 1e-3
    assert sorted(path.name for path in out.iterdir()) == [".records", "summary.csv"]


def test_a_fault_is_named_in_the_table(images: Path, tmp_path: Path) -> None:
    for file in images.glob("cell*"):
        file.unlink()
    cohort = Cohort(find_bundle(BUNDLE, CLONE), images, tmp_path / "out")
    assert cohort.run() == {"done": 0, "done before": 0, "failed": 1} and cohort.summarise()
    assert "broken.png" in table(tmp_path / "out")["broken"]["error"]


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("a", "2")])
def test_a_wrong_place_is_refused(rank: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(InputError, match="RANK is"):
        place()
