"""Packages, safe unpacking and downloads: real zip files, a real server on the loopback, and what can go wrong."""

from __future__ import annotations

import http.server
import json
import random
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from medmamba_monai.collection import download as downloads
from medmamba_monai.collection import package as packages
from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.download import Release, download, releases
from medmamba_monai.collection.package import digest, package, write_index
from medmamba_monai.collection.transfer import fetch
from medmamba_monai.collection.unpack import unpack

NAME = "net_data_task"


def make_bundle(folder: Path, version: str = "0.1.0", size: int = 40_000) -> Bundle:
    root = folder / NAME
    for name, text in {
        "configs/metadata.json": json.dumps({"version": version}),
        "configs/inference.json": "{}",
        "docs/README.md": "# Overview\n",
        "LICENSE": "terms",
        "eval/metrics.json": "{}",
        "models/last.pt": "state",
        "docs/.hidden": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "models" / "model.pt").write_bytes(random.Random(0).randbytes(size))
    return Bundle(root)


@pytest.fixture()
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    package(make_bundle(tmp_path / "source"), folder)
    write_index(folder, "https://host/files")
    return folder


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; can break off each answer after some bytes, and knows ranges when asked to."""

    limit = 0
    ranges = True
    asked: list[str] = []

    def do_GET(self) -> None:
        path = Path(self.directory) / self.path.lstrip("/")
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        wanted = self.headers.get("Range", "") if type(self).ranges else ""
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        type(self).asked.append(wanted)
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        part = data[start:]
        self.wfile.write(part[: type(self).limit] if type(self).limit and path.suffix == ".zip" else part)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture()
def server(release: Path) -> Iterator[tuple[str, type[Handler]]]:
    handler = type("OneHandler", (Handler,), {"asked": [], "limit": 0, "ranges": True})

    def make(*args: object) -> Handler:
        return handler(*args, directory=str(release))  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", handler
        running.shutdown()


def test_the_same_bytes_twice_and_nothing_that_runs_left(tmp_path: Path) -> None:
    first = package(make_bundle(tmp_path / "a"), tmp_path / "one")
    second = package(make_bundle(tmp_path / "b"), tmp_path / "two")
    assert first.name == f"{NAME}_v0.1.0.zip" and first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
    wanted = ["LICENSE", "configs/inference.json", "configs/metadata.json", "docs/README.md", "models/model.pt"]
    assert names == [f"{NAME}/{name}" for name in wanted]


def test_the_index_is_the_one_that_monai_reads(release: Path) -> None:
    info = json.loads((release / "models" / "model_info.json").read_text(encoding="utf-8"))
    file = release / f"{NAME}_v0.1.0.zip"
    assert info == {file.stem: {"checksum": digest(file, "sha1"), "source": f"https://host/files/{file.name}"}}
    assert (release / packages.SUMS).read_text() == f"{digest(file, 'sha256')}  {file.name}\n"


@pytest.mark.parametrize("version", ["0.10.0", "1.0", "", "a.b.c"])
def test_versions_that_monai_cannot_sort_are_refused(version: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="three single digits"):
        package(make_bundle(tmp_path, version), tmp_path)


def test_a_bundle_without_weights_is_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    bundle.weights.unlink()
    with pytest.raises(InputError, match="no models/model.pt"):
        package(bundle, tmp_path)


@pytest.mark.parametrize("local", [True, False])
def test_download_installs_beside_others(local: bool, release: Path, server, tmp_path: Path) -> None:
    source = str(release) if local else server[0]
    (tmp_path / "installed" / "other").mkdir(parents=True)
    target = download(releases(source, NAME)[-1], tmp_path / "installed")
    assert (target / "models" / "model.pt").stat().st_size == 40_000
    assert sorted(path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")) == [NAME, "other"]


def test_a_server_that_dies_is_asked_for_the_rest(server, tmp_path: Path) -> None:
    url, handler = server
    handler.limit = 15_000
    target = download(releases(url, NAME)[-1], tmp_path)
    assert (target / "models" / "model.pt").is_file()
    assert [asked for asked in handler.asked if asked][0] == "bytes=15000-"


def test_a_download_that_fails_goes_on_in_the_next_run(server, tmp_path: Path, release: Path) -> None:
    url, handler = server
    handler.limit = 3_000  # four tries bring 12000 bytes
    found = releases(url, NAME)[-1]
    with pytest.raises(InputError, match="goes on where it stopped"):
        download(found, tmp_path)
    part = next(tmp_path.glob(".*.part"))
    assert part.stat().st_size == 12_000 and not (tmp_path / NAME).exists()
    handler.limit = 0
    assert download(found, tmp_path).is_dir() and not list(tmp_path.glob("*.part"))


def test_a_server_without_ranges_starts_anew(server, tmp_path: Path) -> None:
    url, handler = server
    handler.limit, handler.ranges = 3_000, False
    found = releases(url, NAME)[-1]
    with pytest.raises(InputError):
        download(found, tmp_path)
    handler.limit = 0
    assert download(found, tmp_path).is_dir()


def test_a_wrong_hash_leaves_nothing(release: Path, tmp_path: Path) -> None:
    file = release / f"{NAME}_v0.1.0.zip"
    with pytest.raises(InputError, match="not the published one"):
        fetch(str(file), tmp_path / "x.zip", 64 * "0")
    assert list(tmp_path.glob("x.zip*")) == []


def test_another_version_is_never_kept_or_lost_silently(tmp_path: Path, release: Path) -> None:
    installed = tmp_path / "installed"
    first = download(releases(str(release), NAME)[-1], installed)
    package(make_bundle(tmp_path / "later", "0.2.0"), release)
    write_index(release, "")
    newest = releases(str(release), NAME)[-1]
    assert newest.version == "0.2.0"
    with pytest.raises(InputError, match=r"holds version 0\.1\.0, not 0\.2\.0"):
        download(newest, installed)
    assert Bundle(first).metadata["version"] == "0.1.0"
    assert Bundle(download(newest, installed, replace=True)).metadata["version"] == "0.2.0"
    assert not [path for path in installed.iterdir() if path.name.endswith((".old", ".new", ".zip"))]


def test_a_changed_bundle_is_noticed(release: Path, tmp_path: Path) -> None:
    found = releases(str(release), NAME)[-1]
    target = download(found, tmp_path)
    assert download(found, tmp_path) == target
    (target / "models" / "model.pt").write_bytes(b"trained on")
    with pytest.raises(InputError, match="--replace"):
        download(found, tmp_path)


def test_two_downloads_at_once(server, tmp_path: Path) -> None:
    found = releases(server[0], NAME)[-1]
    faults: list[BaseException] = []

    def run() -> None:
        try:
            download(found, tmp_path)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == [] and (tmp_path / NAME / "models" / "model.pt").is_file()
    assert len(server[1].asked) == 2  # the list of hashes and one zip file


def write_zip(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("configs/metadata.json", "configs/inference.json", "models/model.pt"):
            archive.writestr(f"{NAME}/{name}", "{}")
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        ("../evil.txt", "leads out"),
        (f"{NAME}/../../evil.txt", "leads out"),
        ("/evil.txt", "leads out"),
        (f"{NAME}\\evil.txt", "leads out"),
        ("C:evil.txt", "leads out"),
        ("other/evil.txt", "one top folder"),
        (f"{NAME}/CONFIGS/metadata.json", "there twice"),
    ],
)
def test_paths_that_leave_the_folder(member: str, fault: str, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", **{member: "evil"})
    with pytest.raises(InputError, match=fault):
        unpack(archive, NAME, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil*")) and not (tmp_path / "deep" / "out").exists()


def test_links_bombs_and_truncation(tmp_path: Path) -> None:
    link = zipfile.ZipInfo(f"{NAME}/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(write_zip(tmp_path / "link.zip"), "a") as archive:
        archive.writestr(link, "/etc/passwd")
    write_zip(tmp_path / "bomb.zip", **{f"{NAME}/docs/zeros": bytes(3_000_000)})
    whole = write_zip(tmp_path / "whole.zip")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-30])
    for file, fault in (("link", "symbolic link"), ("bomb", "times its size"), ("cut", "cannot be unpacked")):
        with pytest.raises(InputError, match=fault):
            unpack(tmp_path / f"{file}.zip", NAME, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_half_a_bundle_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as archive:
        archive.writestr(f"{NAME}/configs/metadata.json", "{}")
    with pytest.raises(InputError, match=r"configs/inference\.json"):
        unpack(tmp_path / "half.zip", NAME, tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("github:owner/repository", "write github:OWNER"),
        ("hf:owner", "write hf:OWNER"),
        ("https://host/other_v0.1.0.zip", "is not called"),
        (f"https://host/{NAME}_v0.1.0.zip", "--sha256"),
        ("/nowhere", "cannot read"),
    ],
)
def test_sources_that_say_too_little(source: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        releases(source, NAME)


def test_addresses_of_the_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        downloads, "read_text", lambda address: (seen.append(address), f"{64 * 'a'}  {NAME}_v0.1.0.zip\n")[1]
    )
    assert releases("github:me/bundles@v1", NAME)[0].address.endswith(f"/{NAME}_v0.1.0.zip")
    releases("hf:me/bundles", NAME)
    base = "https://github.com/me/bundles/releases/download/v1"
    assert seen == [f"{base}/{packages.SUMS}", f"https://huggingface.co/me/bundles/resolve/main/{packages.SUMS}"]


def test_commands(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(release)
    source = tmp_path / "source"
    assert packages.main([NAME, "--bundles", str(source), "--out", str(release), "--url", "https://host"]) == 0
    arguments = [NAME, "--source", str(release), "--dir", str(tmp_path / "installed")]
    assert downloads.main(arguments) == 0 and downloads.main([*arguments, "--version", "0.1.0"]) == 0
    assert str(tmp_path / "installed" / NAME) in capsys.readouterr().out
    with pytest.raises(InputError, match="use one of 0.1.0"):
        downloads.main([*arguments, "--version", "9.9.9"])
    with pytest.raises(InputError, match="offers no bundle 'nothing'"):
        releases(str(release), "nothing")
    assert Release(NAME, "0.1.0", "a", "b") != Release(NAME, "0.2.0", "a", "b")
