"""The blocks and examples of docs/pipelines.md run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.bundles.conftest import BUNDLES, small_data  # noqa: F401

DOCS = Path(__file__).resolve().parents[2] / "docs"
BUNDLE = "medmamba_bloodcell_microscopy_classification"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
NNUNET = CACHE / "medmamba_monai" / "nnunet" / "bin" / "python"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (DOCS / "pipelines.md").read_text(encoding="utf-8"), re.M | re.S)


def test_the_page_has_blocks() -> None:
    assert len(BLOCKS) == 5 and sum("pytorch_lightning" in block for block in BLOCKS) == 1


def test_blocks_run(
    small_data: Callable[[str], Path],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    sites = {}
    for site in ("north", "south"):
        root = shutil.copytree(BUNDLES / BUNDLE, tmp_path / site / BUNDLE)
        sites[site] = (str(root), str(small_data(BUNDLE)))
    names: dict[str, object] = {"sites": sites}
    for number, block in enumerate(BLOCKS):
        if "pytorch_lightning" not in block:
            exec(compile(block, f"pipelines.md, block {number}", "exec"), names)


def test_the_lightning_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytorch_lightning", reason="pytorch-lightning is not installed")
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in BLOCKS if "pytorch_lightning" in block)
    exec(compile(block, "pipelines.md", "exec"), {"__name__": "block"})


@pytest.mark.skipif(
    not NNUNET.is_file(), reason=f"no nnU-Net in {NNUNET.parents[1]}: run .ci/environment nnunet, which makes it"
)
def test_nnunet_plans_trains_and_predicts(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(DOCS.parent)}
    command = [str(NNUNET), str(DOCS / "examples" / "nnunet_umamba.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "network: NnUNetUMamba" in done.stdout
    assert "predicted: (40, 36, 6)" in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the line that compiles is for Linux")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_the_cpp_example_runs_a_file(tmp_path: Path) -> None:
    from medmamba_monai.export import save_torchscript
    from medmamba_monai.networks.nets import MedMamba

    torch_folder = Path(torch.__file__).parent
    source = (DOCS / "examples" / "run_torchscript.cpp").read_text(encoding="utf-8")
    lines = [line.removeprefix("// ").rstrip(" \\") for line in source.splitlines()[3:5]]
    compile_line = " ".join(lines).replace("$T", str(torch_folder)).replace("docs/examples", str(DOCS / "examples"))
    subprocess.run(compile_line.split(), cwd=tmp_path, check=True)
    net = MedMamba(spatial_dims=2, in_channels=1, num_classes=2, depths=[1], dims=[8]).eval()
    save_torchscript(net, torch.randn(1, 1, 16, 16), tmp_path / "net.ts", {})
    command = [str(tmp_path / "run_torchscript"), "net.ts", "2", "1", "20", "16"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    with torch.no_grad():
        total = net(torch.zeros(2, 1, 20, 16)).sum().item()
    assert said.startswith("[2, 2]") and abs(float(said.split()[-1]) - total) < 1e-4
