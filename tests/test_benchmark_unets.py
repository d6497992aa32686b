"""The table of segmentation networks beside MONAI's; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from medmamba_monai import benchmark, benchmark_unets
from medmamba_monai.networks.nets import VMUNet


def small() -> dict[int, dict[str, object]]:
    def ours() -> nn.Module:
        return VMUNet(2, 3, 1, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16])

    return {32: {"ours": ours, "peer": lambda: nn.Conv2d(3, 1, 3, padding=1)}}


def test_table_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(benchmark_unets, "contenders", small)
    file = tmp_path / "unets.json"
    assert benchmark.main(["unets", "--sizes", "32", "--repeats", "1", "--json", str(file)]) == 0
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == ["ours", "peer", "ours, reference scan"]
    assert all(row["forward"] > 0 for row in rows) and all(row["training"] > 0 for row in rows[:2])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("| 32 x 32 | ours | ") and lines[-3].endswith("| 1.00 |")
    with pytest.raises(ValueError, match="size 64 has no networks: use some of 32"):
        benchmark_unets.main(["--sizes", "64"])


def test_a_wrong_network_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(benchmark_unets, "contenders", small)
    monkeypatch.setattr(benchmark_unets, "check_network", lambda net, x: "wrong: error 1")
    assert benchmark_unets.main(["--sizes", "32", "--repeats", "1"]) == 1
    assert "| ours | wrong: error 1 |" in capsys.readouterr().out


def test_contenders_are_of_like_size() -> None:
    networks = benchmark_unets.contenders()[256]
    count = {name: sum(p.numel() for p in build().parameters()) for name, build in networks.items()}
    assert all(0.5 < number / count["VM-UNet"] < 2 for number in count.values()), count
