"""MONAI's own ways to find and get bundles, on a release of ours that a server on the loopback holds."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import torch
from monai.bundle import (
    download,
    get_all_bundles_list,
    get_bundle_info,
    get_bundle_versions,
    load,
    push_to_hf_hub,
    scripts,
)

from medmamba_monai.collection.bundles import Bundle, all_bundles
from medmamba_monai.collection.package import digest, package, write_index
from medmamba_monai.collection.verify import RULES, verify
from medmamba_monai.networks.nets import UMamba

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAME = "umamba_hippocampus_mr_segmentation"
REPOSITORY = "clinic/bundles"
STORAGE = "hosting_storage_v1"  # the tag under which MONAI lists a release's own files


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A release at ``<address>/<tag>/``, with the answer that GitHub gives for its list of releases."""
    folder = tmp_path_factory.mktemp("release")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        archive = package(Bundle(BUNDLES / NAME), folder / STORAGE)
        write_index(folder / STORAGE, f"{address}/{STORAGE}")
        assets = [{"name": archive.name, "browser_download_url": f"{address}/{STORAGE}/{archive.name}"}]
        (folder / "releases").write_text(json.dumps([{"tag_name": STORAGE, "assets": assets}]), encoding="utf-8")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield address
        server.shutdown()


@pytest.fixture()
def github(release: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """GitHub's addresses lead to the loopback; everything else is MONAI's own code."""
    get = requests.get

    def local(url: str, **options: Any) -> requests.Response:
        url = url.replace(f"https://api.github.com/repos/{REPOSITORY}", release)
        url = url.replace(f"https://raw.githubusercontent.com/{REPOSITORY}", release)
        assert url.startswith(release)
        return get(url, timeout=30, **options)

    monkeypatch.setattr(scripts.requests, "get", local)
    monkeypatch.setattr(
        scripts, "_get_git_release_url", lambda owner, name, tag_name, filename: f"{release}/{tag_name}/{filename}"
    )
    return release


def test_download_by_url(release: str, tmp_path: Path) -> None:
    download(name=NAME, url=f"{release}/{STORAGE}/{NAME}_v0.1.0.zip", bundle_dir=str(tmp_path), progress=False)
    info = requests.get(f"{release}/{STORAGE}/models/model_info.json", timeout=30).json()
    assert digest(tmp_path / f"{NAME}.zip", "sha1") == info[f"{NAME}_v0.1.0"]["checksum"]
    found = Bundle(tmp_path / NAME)
    assert digest(found.weights, "sha256") == digest(BUNDLES / NAME / "models" / "model.pt", "sha256")
    assert [fault for rule in RULES if rule.name in ("layout", "weights") for fault in verify(found, rule)] == []


def test_download_of_the_newest_by_the_index(github: str, tmp_path: Path) -> None:
    download(name=NAME, source="github", repo=f"{REPOSITORY}/{STORAGE}", bundle_dir=str(tmp_path), progress=False)
    assert Bundle(tmp_path / NAME).metadata["version"] == "0.1.0"


@pytest.mark.parametrize("tag", [STORAGE, f"{STORAGE}/"])
def test_lists_and_versions(github: str, tag: str) -> None:
    # the second is another tag to MONAI, which then reads models/model_info.json
    assert get_all_bundles_list(repo=REPOSITORY, tag=tag) == [(NAME, "0.1.0")]
    assert get_bundle_versions(NAME, repo=REPOSITORY, tag=tag)["all_versions"] == ["0.1.0"]
    found = get_bundle_info(NAME, repo=REPOSITORY, tag=tag)
    assert found["browser_download_url"] == f"{github}/{STORAGE}/{NAME}_v0.1.0.zip"


def test_every_name_of_the_collection_survives_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles = all_bundles(BUNDLES)
    index = {f"{bundle.name}_v{bundle.metadata['version']}": {"checksum": "", "source": "x"} for bundle in bundles}
    answer = requests.Response()
    answer.status_code, answer._content = 200, json.dumps(index).encode()
    monkeypatch.setattr(scripts.requests, "get", lambda url: answer)
    assert get_all_bundles_list(repo=REPOSITORY, tag="v1") == [(b.name, b.metadata["version"]) for b in bundles]


def test_load_gives_the_trained_network(github: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = {"source": "github", "repo": f"{REPOSITORY}/{STORAGE}", "bundle_dir": str(tmp_path), "progress": False}
    network = load(NAME, device="cpu", **where)
    assert isinstance(network, UMamba)
    expected = torch.load(BUNDLES / NAME / "models" / "model.pt", weights_only=True)
    found = network.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def test_push_to_the_hugging_face_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MONAI's code with a hub that only writes down what it is sent."""
    sent: list[tuple[str, dict[str, Any]]] = []

    class Hub:
        def __init__(self, token: str | None) -> None:
            assert token == "secret"

        def __getattr__(self, name: str) -> Any:
            def call(**options: Any) -> str:
                sent.append((name, options))
                return "https://hub/clinic/bundles"

            return call

    monkeypatch.setattr(scripts, "huggingface_hub", SimpleNamespace(HfApi=Hub))
    download(name=NAME, url=_packed(tmp_path).as_uri(), bundle_dir=str(tmp_path / "bundles"), progress=False)
    push_to_hf_hub(REPOSITORY, NAME, str(tmp_path / "bundles"), token="secret", version="0.1.0")
    assert [name for name, _ in sent] == ["create_repo", "upload_folder", "create_tag"]
    folder = Path(sent[1][1]["folder_path"])
    assert sent[2][1]["tag"] == "0.1.0" and (folder / "models" / "model.pt").is_file()
    assert "license: apache-2.0" in (folder / "README.md").read_text(encoding="utf-8")


def _packed(folder: Path) -> Path:
    return package(Bundle(BUNDLES / NAME), folder / "release")
