"""The benchmark's table, its file, and that a wrong backend gets no speed; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medmamba_monai import benchmark
from medmamba_monai.benchmark import networks, scan
from medmamba_monai.benchmark.measure import table
from medmamba_monai.benchmark.modes import Mode, inference, modes, training_step
from medmamba_monai.benchmark.suites import SUITES, Suite
from medmamba_monai.ops import available_backends


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SHAPES", {"tiny": (8, 20, 2)})


def test_scan_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scan.json"
    assert benchmark.main(["scan", "--shapes", "tiny", "--repeats", "1", "--json", str(file)]) == 0
    result = json.loads(file.read_text(encoding="utf-8"))
    names = [row["name"] for row in result["rows"]]
    assert names[:2] == ["reference", "chunked"]
    assert ("native" in names) == (available_backends()["native"] is None)
    assert all(row["forward"] > 0 and row["training"] > 0 for row in result["rows"])
    assert result["machine"]["torch"] == torch.__version__
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)


def test_a_wrong_backend_gets_no_speed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = scan._backend

    def wrong(name: str):  # type: ignore[no-untyped-def]
        def run(**tensors: Tensor) -> Tensor:
            return right(name)(**tensors) * (1.01 if name == "chunked" else 1.0)

        return run

    monkeypatch.setattr(scan, "_backend", wrong)
    assert benchmark.main(["scan", "--shapes", "tiny", "--repeats", "1"]) == 1
    line = next(x for x in capsys.readouterr().out.splitlines() if " chunked " in x and "case" not in x)
    assert "wrong: error" in line and "ms" not in line


def test_unknown_shape() -> None:
    with pytest.raises(ValueError, match="shape 'q' is unknown"):
        benchmark.main(["scan", "--shapes", "q"])


def test_a_network_whose_fast_scan_is_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from medmamba_monai.networks.nets import MedMamba
    from medmamba_monai.ops.backends import chunked

    net, x = MedMamba(in_channels=1, num_classes=2, depths=(1,), dims=(8,)).eval(), torch.randn(1, 1, 32, 32)
    assert networks.check_network(net, x) is None
    if available_backends()["native"] is None:
        right = chunked.scan
        monkeypatch.setattr(chunked, "scan", lambda *a: tuple(y * torch.nan for y in right(*a)))
        found = networks.check_network(net, x)
        assert found is not None and found.startswith("wrong: error")


@pytest.mark.parametrize("mode", [Mode(""), Mode(", bf16", bfloat16=True)])
def test_ways_to_run_a_network(mode: Mode) -> None:
    net, x = torch.nn.Conv2d(1, 2, 3), torch.randn(1, 1, 8, 8)
    y = inference(net, x, mode)()
    assert isinstance(y, Tensor) and not y.requires_grad
    assert y.dtype == (torch.bfloat16 if mode.bfloat16 else torch.float32)
    step = training_step(net, x, mode)
    assert step is not None
    seen = []
    net.weight.register_hook(seen.append)
    step()
    assert len(seen) == 1 and net.weight.grad is None


def test_cuda_adds_precision_compiler_and_graphs() -> None:
    names = [mode.name for mode in modes(torch.device("cuda"))]
    assert names == ["", ", compiled", ", CUDA graph", ", bf16", ", bf16, compiled", ", bf16, CUDA graph"]
    assert training_step(torch.nn.Identity(), torch.zeros(1), modes(torch.device("cuda"))[2]) is None


def test_a_network_that_cannot_run_tells_why() -> None:
    class Breaks(torch.nn.Identity):
        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("no training today\nand a long trace")
            return x

    suite = Suite(128, 2, 3, {"fits": lambda: torch.nn.Conv2d(3, 2, 3)}, lambda _: {"breaks": Breaks})
    fits, breaks, slow = networks.network(suite, 128, 1, torch.device("cpu"), reference=True)
    assert fits.forward and fits.training and fits.refused is None
    assert breaks.refused == "failed: no training today"
    assert slow.name == "fits, reference scan" and slow.forward
    line = table([fits, breaks, slow], "fits").splitlines()[1]
    assert float(line.split()[-1]) == pytest.approx(slow.forward / fits.forward, abs=0.006)


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_networks_that_take_their_image(name: str) -> None:
    suite = SUITES[name]
    for network, build in suite.networks(suite.size).items():
        with torch.device("cpu" if "SwinUNETR" in network else "meta"):  # it computes with numbers while it is made
            assert sum(p.numel() for p in build().parameters()) > 1e6
    with pytest.raises(ValueError, match="use a multiple of 32"):
        networks.network(suite, 33, 1, torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_scan_and_networks_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["scan", "--device", "cuda", "--shapes", "tiny", "--repeats", "1", "--batch", "2"]) == 0
    assert "triton" in capsys.readouterr().out
    assert benchmark.main(["network", "--device", "cuda", "--size", "128", "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert "MedMamba tiny, bf16, CUDA graph" in printed and "failed" not in printed
