"""What MONAI and its zoo demand of a bundle's files: layout, metadata, config ids, names, weights."""

from __future__ import annotations

import json
import logging.config
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out

from tests.bundles.conftest import BUNDLES, NAMES, metadata

SCHEMA = Path(__file__).with_name("meta_schema_20240725.json")
CONFIGS = ("metadata", "train", "evaluate", "inference", "multi_gpu_train")


def test_all_bundle_folders_are_tested() -> None:
    assert NAMES == sorted(folder.name for folder in BUNDLES.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_layout(name: str) -> None:
    root = BUNDLES / name
    wanted = [*(f"configs/{config}.json" for config in CONFIGS), "configs/logging.conf", "models/model.pt"]
    wanted += ["docs/README.md", "docs/data_license.txt", "LICENSE"]
    assert [path for path in wanted if not (root / path).is_file()] == []
    large = [str(path) for path in root.rglob("*") if path.is_file() and path.stat().st_size > 25e6]
    assert large == []
    logging.config.fileConfig(root / "configs" / "logging.conf", disable_existing_loggers=False)


@pytest.mark.parametrize("name", NAMES)
def test_name_and_versions(name: str) -> None:
    assert not re.search(r".+_v", name), "MONAI cuts a bundle's name at _v"
    meta = metadata(name)
    assert "optional_packages_version" not in meta, "monai 1.6.1 lets it overwrite required_packages_version"
    assert re.fullmatch(r"\d\.\d\.\d", meta["version"]), "versions are sorted as strings"
    assert meta["version"] in meta["changelog"] and all(re.fullmatch(r"\d\.\d\.\d", v) for v in meta["changelog"])
    assert all(re.fullmatch(r"[\w.+]+", version) for version in meta["required_packages_version"].values())


@pytest.mark.parametrize("name", NAMES)
def test_metadata_follows_the_schema(name: str, tmp_path: Path) -> None:
    local = tmp_path / "schema.json"
    local.write_bytes(SCHEMA.read_bytes())  # a file that exists is not downloaded
    verify_metadata(meta_file=str(BUNDLES / name / "configs" / "metadata.json"), filepath=str(local))
    data = metadata(name)["network_data_format"]
    assert list(data["inputs"]) == ["image"] and list(data["outputs"]) == ["pred"]
    assert data["inputs"]["image"]["channel_def"] and data["outputs"]["pred"]["channel_def"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1, 2])
def test_network_keeps_the_promised_shapes(name: str, scale: int) -> None:
    configs = BUNDLES / name / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
        n=scale,
        p=scale,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("workflow", "files"),
    [("train", ["train"]), ("train", ["train", "evaluate"]), ("inference", ["inference"])],
)
def test_config_ids(name: str, workflow: str, files: list[str], small_data, tmp_path: Path) -> None:
    configs = BUNDLES / name / "configs"
    flow = ConfigWorkflow(
        config_file=[str(configs / f"{file}.json") for file in files],
        meta_file=str(configs / "metadata.json"),
        logging_file=None,
        workflow_type=workflow,
        bundle_root=str(BUNDLES / name),
        dataset_dir=str(small_data(name)),
        output_dir=str(tmp_path),
    )
    flow.initialize()
    assert flow.check_properties() == []


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_installed_code(name: str) -> None:
    for file in (BUNDLES / name / "configs").glob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert "scripts." not in text and "/home/" not in text
        for target in re.findall(r'"_target_":\s*"([^"$@]+)"', text):
            assert "." not in target or target.split(".")[0] in {"medmamba_monai", "monai", "torch", "ignite"}


@pytest.mark.parametrize("name", NAMES)
def test_weights_load_safely_and_strictly(name: str) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / name / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def", instantiate=True)
    state = torch.load(BUNDLES / name / "models" / "model.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(state.get("model", state))
    assert all(value.isfinite().all() for value in network.state_dict().values() if value.is_floating_point())


@pytest.mark.parametrize("name", NAMES)
def test_ckpt_export(name: str, tmp_path: Path) -> None:
    configs = BUNDLES / name / "configs"
    meta = metadata(name)
    spatial = [
        eval(str(size), {"n": 1, "p": 1}) for size in meta["network_data_format"]["inputs"]["image"]["spatial_shape"]
    ]
    shape = [1, meta["network_data_format"]["inputs"]["image"]["num_channels"], *spatial]
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(BUNDLES / name / "models" / "model.pt"),
        meta_file=str(configs / "metadata.json"),
        config_file=[str(configs / "inference.json")],
        key_in_ckpt="",
        use_trace=True,
        input_shape=shape,
    )
    extra = {"metadata.json": "", "inference.json": ""}
    exported = torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra)
    assert json.loads(extra["metadata.json"])["version"] == meta["version"] and json.loads(extra["inference.json"])
    assert exported(torch.zeros(shape)).shape[0] == 1
