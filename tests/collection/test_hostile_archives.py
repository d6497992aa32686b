"""Archives that are cut, damaged or built to harm, and runs that were killed: refused or mended, nothing lost."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest

from medmamba_monai.collection import unpack as module
from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.download import download, releases
from medmamba_monai.collection.package import package, write_index
from medmamba_monai.collection.unpack import unpack
from tests.collection.test_release import NAME, make_bundle, write_zip


def refused(archive: Path, out: Path) -> str:
    """The one sentence of the refusal; nothing is left in the folder."""
    with pytest.raises(InputError) as caught:
        unpack(archive, NAME, out)
    assert not out.exists() and str(archive) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_truncated_anywhere(share: float, tmp_path: Path) -> None:
    whole = package(make_bundle(tmp_path / "source"), tmp_path).read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole[: int(share * len(whole))])
    assert "download it again" in refused(cut, tmp_path / "out")


def test_a_flipped_byte_inside_is_noticed(tmp_path: Path) -> None:
    archive = package(make_bundle(tmp_path / "source"), tmp_path)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    assert "cannot be unpacked" in refused(archive, tmp_path / "out")


def in_directory(archive: Path, member: str, place: int, value: bytes) -> None:
    """Changes the entry of a member in the list at the end of the archive."""
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\x01\x02", data.rindex(member.encode()) - 46)
    data[entry + place : entry + place + len(value)] = value
    archive.write_bytes(data)


@pytest.mark.parametrize(
    ("place", "value"),
    [(24, struct.pack("<I", 10)), (8, struct.pack("<H", 1)), (10, struct.pack("<H", 99))],
    ids=["says it is small", "encrypted", "unknown compression"],
)
def test_entries_that_lie(place: int, value: bytes, tmp_path: Path) -> None:
    member = f"{NAME}/docs/zeros"
    archive = write_zip(tmp_path / "a.zip", **{member: bytes(100_000)})
    in_directory(archive, member, place, value)
    assert "cannot be unpacked" in refused(archive, tmp_path / "out")


def test_too_many_files_and_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_zip(tmp_path / "a.zip", **{f"{NAME}/docs/{number}": os.urandom(50) for number in range(20)})
    monkeypatch.setattr(module, "MOST", 22)
    assert "holds 23 files, more than 22" in refused(archive, tmp_path / "out")
    monkeypatch.setattr(module, "MOST", 23)
    monkeypatch.setattr(module, "LARGEST", 1000)
    assert "more than 0.0 GB" in refused(archive, tmp_path / "out")
    monkeypatch.setattr(module, "LARGEST", 2000)
    assert unpack(archive, NAME, tmp_path / "out").is_dir()


@pytest.fixture()
def release(tmp_path: Path) -> Path:
    package(make_bundle(tmp_path / "source"), tmp_path / "release")
    write_index(tmp_path / "release", "")
    return tmp_path / "release"


def test_what_a_killed_run_left_is_mended(release: Path, tmp_path: Path) -> None:
    found, installed = releases(str(release), NAME)[-1], tmp_path / "installed"
    for stale in (f".{NAME}.new", f".{NAME}.old"):
        (installed / stale / "configs").mkdir(parents=True)
        (installed / stale / "configs" / "half").write_text("written")
    shutil.rmtree(installed / f".{NAME}.old")
    (installed / f".{NAME}.lock").touch()
    target = download(found, installed)
    assert not (target / "configs" / "half").exists() and not (installed / f".{NAME}.new").exists()


def test_a_kill_between_old_and_new_loses_neither(release: Path, tmp_path: Path) -> None:
    found = releases(str(release), NAME)[-1]
    target = download(found, tmp_path / "installed")
    (target / "models" / "model.pt").write_bytes(b"trained on")
    target.rename(target.with_name(f".{NAME}.old"))
    with pytest.raises(InputError, match="--replace"):
        download(found, target.parent)
    assert (target / "models" / "model.pt").read_bytes() == b"trained on"
    assert Bundle(download(found, target.parent, replace=True)).weights.stat().st_size == 40_000
