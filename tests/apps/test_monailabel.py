"""A real MONAI Label server with our app: HTTP requests, compared with ``monai.bundle run``.

The server lives in an environment of its own, which ``.ci/environment label`` makes.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import run
from monai.utils import set_determinism
from PIL import Image

from medmamba_monai.apps import command
from tests.apps.small_bundles import write_picture_bundle, write_restoring_bundle

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "medmamba_monai" / "label"
PYTHON = Path(os.environ.get("MEDMAMBA_MONAI_LABEL", CACHE)) / "bin" / "python"
VOLUMES = "umamba_hippocampus_mr_segmentation"
CELLS = "medmamba_bloodcell_microscopy_classification"
PICTURES = "umamba_pictures_segmentation"
RESTORED = "umamba_volumes_restoration"
LIMIT = 600  # seconds
TURNED = np.array([[0, 0, -1.2, 5.0], [0.9, 0, 0, -3.0], [0, 1.0, 0, 7.0], [0, 0, 0, 1]])

pytestmark = pytest.mark.skipif(
    not PYTHON.is_file(), reason=f"no MONAI Label in {PYTHON.parents[1]}: run .ci/environment label, which makes it"
)


@dataclass(frozen=True)
class Server:
    """A running server and what it serves."""

    url: str
    app: Path
    source: Path
    studies: Path

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, method: str, path: str, content: object = None) -> Any:
        status, body = self.ask(method, path, b"" if content is None else json.dumps(content).encode())
        assert status == 200, body[-2000:]
        return json.loads(body)

    def infer(self, model: str, image: str | Path, output: str = "image", **params: object) -> tuple[int, bytes]:
        """Asks with the name of an image of the studies, or with a file of its own."""
        form = {"params": json.dumps({"device": "cpu", **params})}
        path = f"/infer/{model}?output={output}"
        if isinstance(image, str):
            body = urllib.parse.urlencode(form).encode()
            return self.ask("POST", f"{path}&image={image}", body, "application/x-www-form-urlencoded")
        return self.ask("POST", path, *multipart(form, {"file": image}))


def multipart(fields: dict[str, str], files: dict[str, Path]) -> tuple[bytes, str]:
    """The body of a form with files, and its type."""
    mark = uuid.uuid4().hex
    start = f"--{mark}\r\nContent-Disposition: form-data; name="
    parts = [f'{start}"{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()]
    for key, file in files.items():
        head = f'{start}"{key}"; filename="{file.name}"\r\n\r\n'
        parts.append(head.encode() + file.read_bytes() + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def write_studies(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, affine in (("turned", TURNED), ("plain", np.eye(4))):
        volume = rng.normal(100, 20, (26, 30, 24)).astype(np.float32)
        volume[8:16, 10:22, 8:16] += 120
        nib.save(nib.Nifti1Image(volume, affine), folder / f"{name}.nii.gz")
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/info/", timeout=LIMIT):
                return
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {log.read_text(encoding='utf-8')[-3000:]}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("label")
    source = work / "bundles"
    for name in (VOLUMES, CELLS):
        shutil.copytree(ROOT / "bundles" / name, source / name)
    write_picture_bundle(source / PICTURES)
    write_restoring_bundle(source / RESTORED)
    assert command.main(["--out", str(work / "app")]) == 0
    studies, url, log = write_studies(work / "studies"), f"http://127.0.0.1:{free_port()}", work / "log"
    arguments = ["start_server", "--app", str(work / "app"), "--studies", str(studies), "-i", "127.0.0.1"]
    arguments += ["-p", url.rpartition(":")[2], "--conf", "bundles", str(source)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["MONAI_LABEL_TRACKING_ENABLED"] = "false"
    # the script runs the Python of the path
    environment["PATH"] = f"{PYTHON.parent}{os.pathsep}{environment['PATH']}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(PYTHON), "-m", "monailabel.main", *arguments], cwd=work, env=environment, stdout=stream, stderr=stream
        )
        try:
            wait_for(url, process, log)
            yield Server(url, work / "app", source, studies)
        finally:
            process.terminate()
            process.wait(60)


def bundle_run(root: Path, image: Path, out: Path) -> Path:
    """The folder that ``monai.bundle run`` wrote for one image; in this process, which has MONAI loaded."""
    config = str(root / "configs" / "inference.json")
    run(config_file=config, bundle_root=str(root), image=str(image), output_dir=str(out))
    set_determinism(None)
    return out


def opened(body: bytes, file: Path) -> Any:
    file.write_bytes(body)
    return nib.load(file) if file.name.endswith(".nii.gz") else Image.open(file)


def test_info_tells_every_bundle(server: Server) -> None:
    info = server.json("GET", "/info/")
    kinds = {name: model["type"] for name, model in info["models"].items()}
    assert kinds == {VOLUMES: "segmentation", CELLS: "classification", PICTURES: "segmentation", RESTORED: "others"}
    assert info["models"][VOLUMES]["labels"] == {"anterior": 1, "posterior": 2}
    assert info["models"][PICTURES]["dimension"] == 2
    assert VOLUMES in info["trainers"] and CELLS not in info["trainers"]
    assert set(info["strategies"]) == {"random", "first"}


def test_a_volume_equals_bundle_run(server: Server, tmp_path: Path) -> None:
    status, body = server.infer(VOLUMES, "turned")
    assert status == 200, body[-2000:]
    found = opened(body, tmp_path / "found.nii.gz")
    out = bundle_run(server.source / VOLUMES, server.studies / "turned.nii.gz", tmp_path / "out")
    expected = nib.load(out / "turned_seg.nii.gz")
    assert np.count_nonzero(np.asarray(expected.dataobj)) > 0
    assert np.array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
    assert np.allclose(found.affine, expected.affine, atol=1e-4)
    status, body = server.infer(VOLUMES, "turned", output="json")
    volumes = json.loads(body)["volumes_ml"]
    assert volumes["anterior"] == pytest.approx(1.08e-3 * np.count_nonzero(np.asarray(found.dataobj) == 1), rel=1e-4)


def test_a_picture_equals_bundle_run(server: Server, tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 52, 3)).astype(np.uint8)).save(picture)
    status, body = server.infer(PICTURES, picture)
    assert status == 200, body[-2000:]
    found = np.asarray(opened(body, tmp_path / "found.png"))
    expected = np.asarray(Image.open(bundle_run(server.source / PICTURES, picture, tmp_path / "out") / "case_seg.png"))
    assert len(np.unique(expected)) > 1
    assert np.array_equal(found, expected)


def test_classification_gives_probabilities(server: Server, tmp_path: Path) -> None:
    picture = tmp_path / "cell.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 64, 3)).astype(np.uint8)).save(picture)
    status, body = server.infer(CELLS, picture, output="json")
    assert status == 200, body[-2000:]
    found = {entry["label"]: entry["score"] for entry in json.loads(body)["prediction"]}
    table = bundle_run(server.source / CELLS, picture, tmp_path / "out") / "predictions.csv"
    header, row = (line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[:2])
    expected = {name: float(value) for name, value in zip(header, row, strict=True) if name in found}
    assert len(found) == 4 and found == pytest.approx(expected, abs=1e-4)


def test_restoration_gives_an_image(server: Server, tmp_path: Path) -> None:
    status, body = server.infer(RESTORED, "turned")
    assert status == 200, body[-2000:]
    found = opened(body, tmp_path / "found.nii.gz")
    out = bundle_run(server.source / RESTORED, server.studies / "turned.nii.gz", tmp_path / "out")
    expected = nib.load(next(out.glob("*.nii.gz")))
    assert np.allclose(found.get_fdata(), np.asarray(expected.dataobj).squeeze(), atol=1e-4)
    assert np.allclose(found.affine, TURNED, atol=1e-4)


def test_a_faulty_image_gets_one_sentence(server: Server, tmp_path: Path) -> None:
    image = tmp_path / "many.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((12, 12, 12, 5), np.float32), np.eye(4)), image)
    status, body = server.infer(VOLUMES, image)
    assert status == 400 and "5 channels" in json.loads(body)["detail"]
    image.write_bytes(image.read_bytes()[:60])
    status, body = server.infer(VOLUMES, image)
    assert status == 400 and "cannot be read as an image" in json.loads(body)["detail"]


def test_active_learning_names_an_image(server: Server) -> None:
    assert server.json("POST", "/activelearning/first", {})["id"] == "plain"
    assert server.json("POST", "/activelearning/random", {})["id"] in {"plain", "turned"}


def test_labels_train_the_copy_and_batches_use_it(server: Server, tmp_path: Path) -> None:
    # from new weights: one epoch on the published ones would move no voxel
    training = json.dumps({"max_epochs": 1, "device": "cpu", "pretrained": False}).encode()
    status, body = server.ask("POST", f"/train/{VOLUMES}?run_sync=true", training)
    assert status == 400 and "no image has a label yet" in json.loads(body)["detail"]

    label = np.zeros((26, 30, 24), np.uint8)
    label[8:16, 10:16, 8:16], label[8:16, 16:22, 8:16] = 1, 2
    for name, affine in (("turned", TURNED), ("plain", np.eye(4))):
        file = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(label, affine), file)
        status, body = server.ask("PUT", f"/datastore/label?image={name}&tag=final", *multipart({}, {"label": file}))
        assert status == 200, body[-2000:]
    assert (server.studies / "labels" / "final" / "plain.nii.gz").is_file()

    copy, published = (folder / VOLUMES / "models" / "model.pt" for folder in (server.app / "model", server.source))
    assert copy.read_bytes() == published.read_bytes()
    before = server.infer(VOLUMES, "plain")[1]
    status, body = server.ask("POST", f"/train/{VOLUMES}?run_sync=true", training)
    assert status == 200, body[-2000:]
    assert copy.read_bytes() != published.read_bytes()

    server.json("POST", f"/batch/infer/{VOLUMES}?images=all&run_sync=true", {"device": "cpu"})
    batch = nib.load(server.studies / "labels" / "original" / "plain.nii.gz")
    now = opened(server.infer(VOLUMES, "plain")[1], tmp_path / "now.nii.gz")
    assert np.array_equal(np.asarray(batch.dataobj), np.asarray(now.dataobj))
    old = opened(before, tmp_path / "before.nii.gz")
    assert not np.array_equal(np.asarray(old.dataobj), np.asarray(now.dataobj))
