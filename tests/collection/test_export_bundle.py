"""The export command on a small bundle whose states decay slowly: each file runs where this package is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from medmamba_monai import export
from medmamba_monai.__main__ import main
from medmamba_monai.networks.nets import UMamba

# the paper's design has convolutions without bias, which ONNX writes in a way of their own
ARGUMENTS = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
    "features": [4, 8],
    "n_blocks": 1,
    "n_decoder_blocks": 1,
    "design": "paper",
}
NAME = "umamba_square_test_segmentation"

# What a program does that has torch or onnxruntime alone: MONAI and this package cannot be imported.
ALONE = """
import json, sys, zipfile
sys.modules["medmamba_monai"] = sys.modules["monai"] = None
import torch
file, image, output = sys.argv[1:]
image = torch.load(image)
if file.endswith(".ts"):
    texts = {"metadata.json": "", "inference.json": ""}
    network = torch.jit.load(file, _extra_files=texts)
elif file.endswith(".pt2"):
    texts = {"metadata.json": "", "inference.json": ""}
    network = torch.export.load(file, extra_files=texts).module()
else:
    import onnxruntime
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    network = lambda x: torch.from_numpy(session.run(["pred"], {"image": x.numpy()})[0])
assert json.loads(texts["metadata.json"])["name"] == "a test"
assert json.loads(texts["inference.json"])["network_def"]["features"] == [4, 8]
with torch.no_grad():
    torch.save(network(image), output)
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one bundle: a tiny U-Mamba that keeps its states for thousands of steps."""
    root = tmp_path_factory.mktemp("bundles") / NAME
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    channel = {"num_channels": 1, "spatial_shape": [16, 16]}
    metadata = {"name": "a test", "network_data_format": {"inputs": {"image": channel}}}
    inference = {"window_size": [16, 16], "network_def": {"_target_": f"{UMamba.__module__}.UMamba", **ARGUMENTS}}
    for name, content in (("metadata", metadata), ("inference", inference)):
        (root / "configs" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    torch.manual_seed(0)
    network = UMamba(**ARGUMENTS)
    slow = [parameter for name, parameter in network.named_parameters() if name.endswith("A_log")]
    assert slow
    for parameter in slow:
        nn.init.constant_(parameter, -8.0)
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root.parent


@pytest.fixture(scope="module")
def network(bundles: Path) -> nn.Module:
    found = UMamba(**ARGUMENTS).eval()
    found.load_state_dict(torch.load(bundles / NAME / "models" / "model.pt", weights_only=True))
    return found


@pytest.mark.parametrize("kind", export.FORMATS)
def test_a_file_runs_where_the_package_is_not(kind: str, bundles: Path, network: nn.Module, tmp_path: Path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    file = tmp_path / f"net{export.FORMATS[kind]}"
    assert main(["export", "umamba", "--format", kind, "--output", str(file), "--bundles", str(bundles)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    # a recorded size may meet any batch, a trace any size too
    image = torch.randn(3, 1, *((23, 18) if kind == "torchscript" else (16, 16)))
    torch.save(image, tmp_path / "image.pt")
    command = [sys.executable, "-c", ALONE, str(file), str(tmp_path / "image.pt"), str(tmp_path / "pred.pt")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "pred.pt"), network(image), atol=1e-4, rtol=1e-4)


def test_a_torchscript_archive_is_laid_out_as_deploy_reads_it(bundles: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.ts"
    assert main(["export", NAME, "--format", "torchscript", "--output", str(file), "--bundles", str(bundles)]) == 0
    with zipfile.ZipFile(file) as archive:
        for name in ("metadata.json", "inference.json"):
            assert json.loads(archive.read(f"model/extra/{name}"))


def test_faults_are_told_in_one_sentence(bundles: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def run(output: Path) -> str:
        command = ["export", NAME, "--format", "torchscript", "--output", str(output), "--bundles", str(bundles)]
        assert main(command) == 1
        return capsys.readouterr().err

    assert "does not end in .ts" in run(tmp_path / "net.pt")
    (tmp_path / "file").write_text("")
    assert "cannot write into" in run(tmp_path / "file" / "net.ts")
    older = tmp_path / "net.ts"
    older.write_text("older")
    monkeypatch.setattr(export, "difference", lambda *_: 0.5)
    assert "differs from" in run(older)
    assert older.read_text() == "older" and len(list(tmp_path.iterdir())) == 2
