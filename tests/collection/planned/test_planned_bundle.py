"""From a small data set to a trained bundle: every rule of a standard bundle, resuming, folds, inference, report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

from medmamba_monai.__main__ import main
from medmamba_monai.collection.planned.lock import locked
from medmamba_monai.collection.planned.train import Fold, train_fold
from tests.autoconfig.conftest import MAKERS

SMALL = {
    "configuration.features": [8, 16, 16],
    "configuration.batch_size": 2,
    "training.epochs": 2,
    "training.iterations_per_epoch": 2,
    "training.validate_every": 1,
    "training.folds": 2,
}
VOLUMES = {**SMALL, "configuration.patch_size": [16, 16, 16], "configuration.crop_to_nonzero": False}
PICTURES = {**SMALL, "configuration.patch_size": [16, 16]}
# MONAI cuts names at _v
NAMES = {"volumes": "boxes", "pictures": "squares"}


def plan(data: Path, root: Path, given: dict[str, Any], *more: str) -> int:
    values = [part for name, value in given.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    return main(["plan", str(data), "--output", str(root), "--cpu-cores", "1", "--hours", "1", *values, *more])


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Data and planned bundle, of volumes and of pictures."""
    place = tmp_path_factory.mktemp("planned")
    found = {}
    for kind, layout, given in (("volumes", "nnunet", VOLUMES), ("pictures", "plain", PICTURES)):
        data = place / f"data_{kind}"
        data.mkdir()
        MAKERS[layout](data)
        assert plan(data, place / f"umamba_{NAMES[kind]}_segmentation", given) == 0
        found[kind] = (data, place / f"umamba_{NAMES[kind]}_segmentation")
    return found


def interrupt(root: Path, data: Path) -> None:
    """Train the first of two epochs, as a process does that is killed then."""
    file = root / "configs" / "train.json"
    text = file.read_text()
    file.write_text(text.replace('"epochs": 2', '"epochs": 1'))
    train_fold(Fold(root, 0, 1), str(data))
    file.write_text(text)


@pytest.fixture(scope="module")
def trained(made: dict[str, tuple[Path, Path]]) -> dict[str, tuple[Path, Path]]:
    """The same, trained: fold 0, stopped after one epoch and taken up again; of the volumes fold 1, too."""
    for kind, (data, root) in made.items():
        if kind == "pictures":
            interrupt(root, data)
        assert main(["train", str(root), "--fold", "all" if kind == "volumes" else "0"]) == 0
    return made


KINDS = pytest.mark.parametrize("kind", ["volumes", "pictures"])


@KINDS
def test_twice_the_same_plan(made: dict[str, tuple[Path, Path]], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, root = made[kind]
    given = VOLUMES if kind == "volumes" else PICTURES
    before = files(root)
    assert plan(data, root, given) == 0
    assert "nothing was changed" in capsys.readouterr().out and files(root) == before
    fresh = root.parent / "again" / root.name
    assert plan(data, fresh, given) == 0
    same = files(fresh)
    assert same == {name: before[name] for name in same}
    shutil.rmtree(fresh.parent)
    assert plan(data, root, {**given, "training.epochs": 3}) == 1
    assert "holds another plan (it differs in given" not in (told := capsys.readouterr().err)
    assert "training.epochs" in told and files(root) == before


def test_refusals(made: dict[str, tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, root = made["pictures"]
    with locked(root):
        assert main(["train", str(root)]) == 1
        assert plan(data, root, PICTURES) == 1
    assert capsys.readouterr().err.count("another process works on") == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for arguments, told in (
        (["plan", str(data), "--output", str(tmp_path / "mine"), "--gpu-gb", "8"], "is no planned bundle"),
        (["plan", str(data), "--output", str(tmp_path / "net_vessel"), "--gpu-gb", "8"], "holds '_v'"),
        (["plan", str(data), "--output", str(tmp_path / "b"), "--gpu-gb", "8", "--cpu-cores", "2"], "one budget"),
        (["train", str(tmp_path)], "holds no configs/plan.json"),
        (["train", str(root), "--fold", "7"], "fold 7 does not exist"),
    ):
        assert main(arguments) == 1
        assert told in capsys.readouterr().err
    (data / "masks" / "p3.png").rename(tmp_path / "p3.png")
    try:
        assert main(["plan", str(data), "--output", str(tmp_path / "c"), "--gpu-gb", "8"]) == 1
        assert "p3: the label is missing" in capsys.readouterr().err and not (tmp_path / "c").exists()
    finally:
        (tmp_path / "p3.png").rename(data / "masks" / "p3.png")


def test_an_interrupted_plan_is_written_anew(made: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    data, root = made["pictures"]
    half = Path(shutil.copytree(root, tmp_path / root.name))
    (half / "configs" / "plan.json").unlink()
    (half / "configs" / "train.json").write_text("{")
    assert plan(data, half, PICTURES) == 0
    assert (half / "configs" / "train.json").read_bytes() == (root / "configs" / "train.json").read_bytes()


def test_training_goes_on_where_it_stopped(
    trained: dict[str, tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    data, root = trained["pictures"]
    history = (root / "eval" / "fold_0" / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in history[1:]] == ["1", "2"]
    before = (root / "models" / "fold_0" / "last.pt").stat().st_mtime_ns
    assert main(["train", str(root), "--fold", "0"]) == 0
    assert "fold 0: trained, 2 epochs" in capsys.readouterr().out
    assert (root / "models" / "fold_0" / "last.pt").stat().st_mtime_ns == before


@KINDS
def test_what_a_training_leaves(trained: dict[str, tuple[Path, Path]], kind: str) -> None:
    _, root = trained[kind]
    assert (root / "models" / "model.pt").read_bytes() == (root / "models" / "fold_0" / "model.pt").read_bytes()
    report = (root / "docs" / "report.md").read_text()
    for part in ("## Results on the validation cases", "curves.png", "worst_case.png", "Largest component alone"):
        assert part in report
    assert all((root / "docs" / name).is_file() for name in ("worst_case.png", "typical_case.png"))
    folds = 2 if kind == "volumes" else 1
    assert f"{folds} of 2 folds are trained" in report
    assert ("2 test cases were not looked at" in report) == (kind == "pictures")


@KINDS
def test_verify_finds_no_fault(
    trained: dict[str, tuple[Path, Path]], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(trained[kind][1])]) == 0, capsys.readouterr().out


def infer(root: Path, image: Path, output: Path, *names: str, **options: Any) -> None:
    flow = ConfigWorkflow(
        config_file=[str(root / "configs" / f"{name}.json") for name in names],
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=None,
        workflow_type="inference",
        bundle_root=str(root),
        image=str(image),
        output_dir=str(output),
        **options,
    )
    flow.initialize()
    flow.run()
    flow.finalize()


def test_inference_on_volumes(trained: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    data, root = trained["volumes"]
    source = nib.load(data / "imagesTr" / "c1_0000.nii.gz")
    turned = np.array([[0, 0, -1.2, 5.0], [0.9, 0, 0, -3.0], [0, 1.0, 0, 7.0], [0, 0, 0, 1]])
    for channel in range(2):
        array = np.asarray(nib.load(data / "imagesTr" / f"c1_{channel:04}.nii.gz").dataobj)
        nib.save(nib.Nifti1Image(array, turned), tmp_path / f"head_{channel:04}.nii.gz")
    image = tmp_path / "head_0000.nii.gz"
    infer(root, image, tmp_path / "one", "inference", overlay=True)
    found = nib.load(tmp_path / "one" / "head_0000_seg.nii.gz")
    assert found.shape == source.shape and np.allclose(found.affine, turned, atol=1e-4)
    assert set(np.unique(np.asarray(found.dataobj))) <= {0, 1, 2}
    assert (tmp_path / "one" / "head_overlay.png").is_file() and (tmp_path / "one" / "head_volumes.json").is_file()
    infer(root, image, tmp_path / "all", "inference", "ensemble", mirror_axes=[0])
    assert nib.load(tmp_path / "all" / "head_0000_seg.nii.gz").shape == source.shape


def test_inference_on_pictures(trained: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    data, root = trained["pictures"]
    Image.open(data / "images" / "p0.png").convert("RGBA").crop((0, 0, 50, 41)).save(tmp_path / "odd.png")
    infer(root, tmp_path / "odd.png", tmp_path / "out", "inference")
    assert Image.open(tmp_path / "out" / "odd_seg.png").size == (50, 41)
