"""Which bundles the label server offers, and the folder that it is started with; no server is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medmamba_monai.apps import command
from medmamba_monai.apps.monailabel.bundles import served_bundles
from medmamba_monai.collection.checks import InputError


def make(folder: Path, name: str, version: str = "0.1.0", inputs: tuple[str, ...] = ("image",)) -> Path:
    root = folder / name
    for part in ("configs", "models", "eval"):
        (root / part).mkdir(parents=True)
    data = {"inputs": dict.fromkeys(inputs, {})}
    text = json.dumps({"version": version, "network_data_format": data})
    (root / "configs" / "metadata.json").write_text(text, encoding="utf-8")
    (root / "configs" / "inference.json").write_text("{}", encoding="utf-8")
    (root / "models" / "model.pt").write_bytes(b"weights")
    (root / "models" / "last.pt").write_bytes(b"state of a training")
    return root


def test_copies_are_served(tmp_path: Path) -> None:
    for name in ("one_net", "two_net"):
        make(tmp_path / "bundles", name)
    found = served_bundles(tmp_path / "app", str(tmp_path / "bundles"), [])
    assert [bundle.root for bundle in found] == [tmp_path / "app" / "one_net", tmp_path / "app" / "two_net"]
    assert sorted(path.name for path in found[0].root.rglob("*")) == [
        "configs",
        "inference.json",
        "metadata.json",
        "model.pt",
        "models",
    ]
    assert [bundle.name for bundle in served_bundles(tmp_path / "app", str(tmp_path / "bundles"), ["two"])] == [
        "two_net"
    ]


def test_a_trained_copy_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make(tmp_path / "bundles", "one_net")
    (copy,) = served_bundles(tmp_path / "app", str(tmp_path / "bundles"), [])
    copy.weights.write_bytes(b"trained here")
    text = (root / "configs" / "metadata.json").read_text(encoding="utf-8").replace("0.1.0", "0.2.0")
    (root / "configs" / "metadata.json").write_text(text, encoding="utf-8")
    (again,) = served_bundles(tmp_path / "app", str(tmp_path / "bundles"), [])
    assert again.weights.read_bytes() == b"trained here" and again.metadata["version"] == "0.1.0"
    assert "keeps version 0.1.0" in caplog.text


def test_what_cannot_be_served_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path / "bundles", "pair_registration", inputs=("fixed", "moving"))
    (make(tmp_path / "bundles", "bare_segmentation") / "models" / "model.pt").unlink()
    assert served_bundles(tmp_path / "app", str(tmp_path / "bundles"), []) == []
    assert "it reads fixed, moving, and clients send one image" in caplog.text
    assert "has no models/model.pt" in caplog.text
    with pytest.raises(InputError, match="--conf bundles FOLDER"):
        served_bundles(tmp_path / "other", str(tmp_path / "empty"), [])


def test_the_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "bundles", "one_net")
    monkeypatch.setenv("MEDMAMBA_MONAI_BUNDLES", str(tmp_path / "bundles"))
    assert len(served_bundles(tmp_path / "app", "", [])) == 1


def test_the_command_prints_the_folder_of_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert command.main([]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == tmp_path / "cache" / "medmamba_monai" / "monailabel"
    assert "BundleApp" in (folder / "main.py").read_text(encoding="utf-8")


def test_a_bundle_of_two_files_is_not_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make(tmp_path / "bundles", "pair_net")
    (root / "configs" / "inference.json").write_text('{"second": ""}', encoding="utf-8")
    make(tmp_path / "bundles", "one_net")
    assert [b.name for b in served_bundles(tmp_path / "app", str(tmp_path / "bundles"), [])] == ["one_net"]
    assert "pair_net is not served: it reads two files" in caplog.text
