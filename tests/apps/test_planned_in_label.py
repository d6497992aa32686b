"""Planned bundles, one of them a cascade, in the MONAI Label app: the same label maps as ``monai.bundle run`` gives.

The app runs in a process of the environment that ``.ci/environment label`` makes, without a server.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from medmamba_monai.apps import command
from tests.apps.test_monailabel import PYTHON, ROOT, TURNED, pytestmark  # noqa: F401
from tests.autoconfig.conftest import arrays, decathlon
from tests.collection.planned.test_cascade import GIVEN
from tests.collection.planned.test_planned_bundle import infer, plan

WHOLE, CASCADE = "umamba_whole_segmentation", "umamba_cascade_segmentation"
ONE_STAGE = {name: value for name, value in GIVEN.items() if not name.startswith("low_resolution.")}


def write_weights(root: Path, network: str, file: str) -> None:
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    torch.manual_seed(1)
    (root / file).parent.mkdir(exist_ok=True)
    torch.save(parser.get_parsed_content(network).state_dict(), root / file)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one stage and a cascade, planned, with random weights; images and a label beside them."""
    place = tmp_path_factory.mktemp("planned_label")
    for name in ("data", "bundles", "studies"):
        (place / name).mkdir()
    data, source = decathlon(place / "data", cases=2), place / "bundles"
    assert plan(data, source / WHOLE, ONE_STAGE) == 0
    assert plan(data, source / CASCADE, GIVEN, "--resolution", "cascade") == 0
    for name in (WHOLE, CASCADE):
        write_weights(source / name, "network_def", "models/model.pt")
    write_weights(source / CASCADE, "low_resolution#network", "models/low_resolution/model.pt")
    image, label = arrays(0)
    for name in ("case", "other"):
        nib.save(nib.Nifti1Image(image, TURNED), place / "studies" / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(label, TURNED), place / "label.nii.gz")
    return source


def run_app(bundles: Path, work: Path, trained: str) -> dict[str, Any]:
    assert command.main(["--out", str(work / "app")]) == 0
    studies = shutil.copytree(bundles.parent / "studies", work / "studies")
    shutil.copy(bundles.parent / "label.nii.gz", work)
    script = Path(__file__).with_name("label_in_process.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["MONAI_LABEL_TRACKING_ENABLED"] = "false"
    arguments = [str(PYTHON), str(script), str(work / "app"), str(studies), str(bundles), trained]
    done = subprocess.run(arguments, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_planned_bundles_are_served(bundles: Path, tmp_path: Path) -> None:
    found = run_app(bundles, tmp_path, CASCADE)
    assert found["labels"] == dict.fromkeys([CASCADE, WHOLE], {"front": 1, "back": 2})
    for name in (WHOLE, CASCADE):
        infer(bundles / name, bundles.parent / "studies" / "case.nii.gz", tmp_path / name, "inference")
        ours, theirs = nib.load(tmp_path / name / "case_seg.nii.gz"), nib.load(found["before"][name])
        assert np.allclose(theirs.affine, TURNED, atol=1e-4)
        assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    set_determinism(None)
    before, after = (np.asarray(nib.load(found[when][CASCADE]).dataobj) for when in ("before", "after"))
    assert not np.array_equal(before, after)
    kept, trained = (place / CASCADE / "models" / "model.pt" for place in (bundles, tmp_path / "app" / "model"))
    assert kept.read_bytes() != trained.read_bytes()
