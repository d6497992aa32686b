"""Each rule of ``verify`` finds the bundle that was broken in its way, and names the fix."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medmamba_monai.collection import trials
from medmamba_monai.collection import verify as command
from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.download import download, releases
from medmamba_monai.collection.package import package, write_index
from medmamba_monai.collection.verify import RULES, verify

SOURCE = Path(__file__).resolve().parents[2] / "bundles" / "umamba_hippocampus_mr_segmentation"
RULE = {rule.name: rule for rule in RULES}
Break = Callable[[Path], None]


def edited(file: str, change: Callable[[dict[str, Any]], object]) -> Break:
    def apply(root: Path) -> None:
        path = root / "configs" / f"{file}.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        change(config)
        path.write_text(json.dumps(config), encoding="utf-8")

    return apply


def metadata(**values: object) -> Break:
    return edited("metadata", lambda meta: meta.update(values))


def replaced(file: str, old: str, new: str) -> Break:
    def apply(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new), encoding="utf-8")

    return apply


def removed(file: str) -> Break:
    return lambda root: (root / file).unlink()


def renamed(new: str) -> Break:
    return lambda root: (root.rename(root.with_name(new)), None)[1]


def swollen(root: Path) -> None:
    with (root / "models" / "more.pt").open("wb") as stream:
        stream.truncate(26_000_000)


def inputs(meta: dict[str, Any]) -> dict[str, Any]:
    return meta["network_data_format"]["inputs"]


def another_state(root: Path) -> None:
    torch.save({"some.weight": torch.zeros(3)}, root / "models" / "model.pt")


def not_finite(root: Path) -> None:
    state = torch.load(root / "models" / "model.pt", weights_only=True)
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, root / "models" / "model.pt")


class Opens:
    """Pickled code: opening it would write a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("code_was_run", "w")


def with_code(root: Path) -> None:
    torch.save({"model": Opens()}, root / "models" / "model.pt")


FAULTS: list[tuple[str, Break, str]] = [
    ("layout", removed("docs/data_license.txt"), "data_license.txt is missing"),
    ("layout", swollen, "more than 25 MB"),
    ("layout", replaced("configs/logging.conf", "class=StreamHandler", "class=os.system"), "'os.system'"),
    ("layout", replaced("configs/logging.conf", "(sys.stdout,)", "(open('x'),)"), "literal values"),
    ("layout", replaced("configs/logging.conf", "[loggers]", "[other]"), "[loggers]"),
    ("name", renamed("isic_vmunet_segmentation"), "cuts it to 'isic'"),
    ("name", renamed("net-task"), "letters, digits"),
    ("versions", metadata(version="0.10.0", changelog={"0.10.0": "new"}), "three single digits"),
    ("versions", metadata(version="0.2.0"), "changelog has no line for version '0.2.0'"),
    ("versions", metadata(optional_packages_version={}), "optional_packages_version"),
    ("versions", metadata(required_packages_version={"nibabel": ">=5"}), "nibabel '>=5'"),
    ("schema", edited("metadata", lambda meta: meta.pop("copyright")), "'copyright' is a required property"),
    ("schema", metadata(schema="https://host/other.json"), "meta_schema_20240725.json"),
    ("tensors", edited("metadata", lambda meta: inputs(meta).update(mask=inputs(meta).pop("image"))), "['mask']"),
    ("tensors", edited("metadata", lambda meta: inputs(meta)["image"].update(num_channels=2)), "image has 2 channels"),
    ("targets", replaced("configs/train.json", "nets.UMamba", "nets.Unknown"), "nets.Unknown"),
    ("targets", replaced("configs/train.json", '"SimpleInferer"', '"NoInferer"'), "'NoInferer'"),
    ("targets", replaced("configs/inference.json", "medmamba_monai.networks", "scripts.networks"), "'scripts.'"),
    ("house", edited("train", lambda config: config.update(bundle_root="/mnt")), "bundle_root '/mnt'"),
    ("house", replaced("configs/inference.json", "set_determinism", "get_seed"), "sets no seed"),
    ("house", replaced("configs/train.json", "load_pretrain", "load"), "load_pretrain"),
    ("house", replaced("configs/train.json", '"model.pt"', '"best.pt"'), "saves no model.pt"),
    ("house", replaced("configs/evaluate.json", "validate#", "test#"), "overrides nothing"),
    ("label server", edited("inference", lambda config: config.pop("inferer")), "no inferer"),
    ("label server", edited("inference", lambda config: config.update(preprocessing={})), "is no Compose"),
    ("label server", replaced("configs/metadata.json", '"segmentation"', '"classes"'), "no 'classification'"),
    ("weights", another_state, "Missing key"),
    ("weights", not_finite, "NaN or infinite"),
    ("weights", with_code, "perhaps code"),
    ("shapes", replaced("configs/inference.json", '"out_channels": 3', '"out_channels": 4'), "n = p = 1"),
    ("ids", edited("train", lambda config: config["train"].pop("inferer")), "train::inferer"),
    ("ids", edited("inference", lambda config: config.pop("network_def")), "network_def"),
    ("export", another_state, "Missing key"),
]


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SOURCE, tmp_path / SOURCE.name))


@pytest.mark.parametrize(("name", "broken", "fault"), FAULTS, ids=[f"{name}: {fault}" for name, _, fault in FAULTS])
def test_a_rule_finds_its_fault(
    name: str, broken: Break, fault: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    broken(root)
    bundle = Bundle(next(path for path in root.parent.iterdir() if path.is_dir()))
    found = verify(bundle, RULE[name])
    assert found and any(fault in sentence for sentence in found), found
    assert not (root.parent / "code_was_run").exists()


def test_every_rule_has_a_broken_bundle() -> None:
    elsewhere = {"published", "runs"}
    assert {name for name, _, _ in FAULTS} | elsewhere == set(RULE)


def test_large_files_may_be_named(root: Path) -> None:
    swollen(root)
    entry = {"path": "models/more.pt", "url": "https://host/more.pt", "hash_val": "0" * 64, "hash_type": "sha256"}
    (root / "large_files.yml").write_text(json.dumps({"large_files": [entry]}), encoding="utf-8")
    assert verify(Bundle(root), RULE["layout"]) == []


def test_a_download_that_was_changed(root: Path, tmp_path: Path) -> None:
    package(Bundle(root), tmp_path / "release")
    write_index(tmp_path / "release", "")
    installed = download(releases(str(tmp_path / "release"), root.name)[-1], tmp_path / "installed")
    assert verify(Bundle(installed), RULE["published"]) == []
    (installed / "LICENSE").write_text("other terms", encoding="utf-8")
    assert "LICENSE is not as published" in verify(Bundle(installed), RULE["published"])[0]


def test_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest of the runs for real, sound and broken; the others are started in test_runs.py."""
    name = "medmamba_bloodcell_microscopy_classification"
    root = Path(shutil.copytree(SOURCE.with_name(name), tmp_path / name))
    monkeypatch.setattr(trials, "RUNS", [run for run in trials.RUNS if run[0] == ["inference"]])
    assert verify(Bundle(root), RULE["runs"]) == []
    another_state(root)
    (fault,) = verify(Bundle(root), RULE["runs"])
    assert fault.startswith("inference failed on made-up images: error: ") and "model.pt" in fault


def test_runs_that_leave_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_run", lambda root, configs, options, folder: None)
    found = verify(Bundle(root), RULE["runs"])
    assert [fault.split(":")[0] for fault in found] == [
        "train wrote no history.csv into its output_dir",
        "training left models/model.pt as it was",
        "train + evaluate wrote no metrics.json into its output_dir",
        "inference wrote no * into its output_dir",
    ]


def test_the_report(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = tuple(rule for rule in RULES if rule.name in ("layout", "name", "versions", "runs"))
    monkeypatch.setattr(command, "RULES", quick)
    archive = package(Bundle(root), root.parent / "release")
    assert command.main([str(root)]) == 0 and command.main([str(archive)]) == 0
    out = capsys.readouterr().out
    assert "  ok    layout" in out and "1 bundles checked, 0 with faults" in out and "runs" not in out
    (root / "LICENSE").unlink()
    assert command.main(["hippocampus", "--bundles", str(root.parent)]) == 1
    assert re.search(r"  fault layout +\n        LICENSE is missing: add it\n", capsys.readouterr().out)


def test_zip_files_that_are_not_what_their_name_says(root: Path) -> None:
    archive = package(Bundle(root), root.parent / "release")
    other = archive.with_name(archive.name.replace("0.1.0", "0.2.0"))
    archive.rename(other)
    with pytest.raises(InputError, match=r"holds version '0\.1\.0'"):
        command.main([str(other)])
    with pytest.raises(InputError, match="is no file called"):
        command.main([str(root / "bundle.zip")])
