"""``python -m medmamba_monai download``: gets a bundle of a release, checks it, and installs it whole or not at all."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.package import SUMS, digest
from medmamba_monai.collection.transfer import fetch, read_text
from medmamba_monai.collection.unpack import unpack

__all__ = ["Release", "changed_files", "download", "main", "releases"]

RECEIPT = ".release.json"
LINE = re.compile(r"([0-9a-fA-F]{64})[ *]+((\w+)_v(\d\.\d\.\d)\.zip)")


def main(argv: Sequence[str]) -> int:
    """Installs one bundle and prints its folder; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai download", description=__doc__)
    parser.add_argument("name", help="name of the bundle")
    parser.add_argument(
        "--source",
        required=True,
        help="github:OWNER/REPOSITORY@TAG, hf:OWNER/REPOSITORY[@REVISION], a URL or a folder that holds the zip files "
        f"and {SUMS}, or one zip file (with --sha256)",
    )
    parser.add_argument("--version", help="version to install (default: the newest)")
    parser.add_argument("--sha256", help="hash of the zip file, when the source has no list of hashes")
    parser.add_argument("--dir", default="bundles", help="folder of installed bundles (default: %(default)s)")
    parser.add_argument("--replace", action="store_true", help="put it in the place of another version")
    options = parser.parse_args(argv)
    found = releases(options.source, options.name, options.sha256)
    print(download(_choose(found, options.name, options.version), options.dir, options.replace))
    return 0


@dataclass(frozen=True)
class Release:
    """One zip file of a release.

    Args:
        name: name of the bundle.
        version: its version.
        address: URL or path of the file.
        sha256: its hash.
    """

    name: str
    version: str
    address: str
    sha256: str


def releases(source: str, name: str, sha256: str | None = None) -> list[Release]:
    """Lists what a source offers of a bundle, oldest version first.

    Args:
        source: as in the command's help.
        name: name of the bundle.
        sha256: hash, for a source that is one zip file.

    Raises:
        InputError: the source cannot be read, has no such bundle, or gives no hash.

    Example:
        >>> releases("https://host/net_task_v0.1.0.zip", "net_task", 64 * "0")[0].version
        '0.1.0'
    """
    base = _base(source)
    if base.endswith(".zip"):
        file = re.fullmatch(rf"{re.escape(name)}_v(\d\.\d\.\d)\.zip", base.rsplit("/", 1)[-1])
        if file is None:
            raise InputError(f"source {source!r} is not called {name}_v<version>.zip: give the name of its bundle")
        if sha256 is None:
            raise InputError(f"source {source!r} is one file without a list of hashes: give its hash with --sha256")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
            raise InputError(f"--sha256 is {sha256!r}: give 64 hexadecimal digits")
        return [Release(name, file.group(1), base, sha256)]
    listed = [LINE.fullmatch(line.strip()) for line in read_text(f"{base}/{SUMS}").splitlines() if line.strip()]
    if None in listed:
        raise InputError(f"{base}/{SUMS} is not a list of hashes and zip files: check the source {source!r}")
    offered = [Release(m[3], m[4], f"{base}/{m[2]}", m[1]) for m in listed if m is not None]
    found = sorted((release for release in offered if release.name == name), key=lambda release: release.version)
    if not found:
        known = ", ".join(sorted({release.name for release in offered})) or "none"
        raise InputError(f"source {source!r} offers no bundle {name!r}: it has {known}")
    return found


def _base(source: str) -> str:
    kind, _, rest = source.partition(":")
    where, _, tag = rest.partition("@")
    if kind == "github":
        if not tag or where.count("/") != 1:
            raise InputError(f"source {source!r} is incomplete: write github:OWNER/REPOSITORY@TAG")
        host = os.environ.get("MEDMAMBA_MONAI_GITHUB", "https://github.com").rstrip("/")
        return f"{host}/{where}/releases/download/{tag}"
    if kind == "hf":
        if where.count("/") != 1:
            raise InputError(
                f"source {source!r} is incomplete: write hf:OWNER/REPOSITORY or hf:OWNER/REPOSITORY@REVISION"
            )
        host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return f"{host}/{where}/resolve/{tag or 'main'}"
    return source.rstrip("/")


def _choose(found: list[Release], name: str, version: str | None) -> Release:
    chosen = [release for release in found if version in (None, release.version)]
    if not chosen:
        known = ", ".join(release.version for release in found)
        raise InputError(f"version {version!r} of {name} is not offered: use one of {known}")
    return chosen[-1]


def download(release: Release, folder: str | Path, replace: bool = False) -> Path:
    """Installs a release as ``folder/<name>``; other bundles there are left alone.

    Two runs at once wait for each other. A bundle that is there already is kept when it is the same release; when it
    is another version, or was changed, it is never kept silently: the run stops, or replaces it.

    Args:
        release: what to install.
        folder: folder of installed bundles.
        replace: put it in the place of another version.

    Returns:
        The bundle's folder.

    Raises:
        InputError: another version is there, the hash is wrong, the archive is unsafe, or the source fails.
    """
    from filelock import FileLock

    folder = Path(folder).expanduser()
    target = folder / release.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{release.name}.lock")
    except OSError as error:
        raise InputError(f"cannot write into {folder} ({error.strerror}): choose another folder with --dir") from error
    with lock:
        _recover(target)
        if target.exists() and _same(target, release):
            return target
        if target.exists() and not replace:
            raise InputError(
                f"{target} holds {_version(target)}, not {release.version} as published: give --replace to put "
                "the published files in its place, or another folder with --dir"
            )
        archive = fetch(release.address, folder / f".{release.name}_v{release.version}.zip", release.sha256)
        fresh = folder / f".{release.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        unpack(archive, release.name, fresh)
        (fresh / RECEIPT).write_text(json.dumps(_receipt(fresh, release), indent=1) + "\n", encoding="utf-8")
        _swap(fresh, target)
        archive.unlink()
    return target


def _recover(target: Path) -> None:
    """Puts back the folder that a run moved away and was killed before it put the new one in its place."""
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        os.replace(old, target)


def _swap(fresh: Path, target: Path) -> None:
    """Puts one folder in the place of another, which is deleted last."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(fresh, target)
    shutil.rmtree(old, ignore_errors=True)


def _receipt(root: Path, release: Release) -> dict[str, object]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        "version": release.version,
        "sha256": release.sha256.lower(),
        "files": {path.relative_to(root).as_posix(): digest(path, "sha256") for path in files},
    }


def _same(target: Path, release: Release) -> bool:
    """Whether the folder is this release, with every file as it was published."""
    receipt = target / RECEIPT
    if not receipt.is_file():
        return False
    found = json.loads(receipt.read_text(encoding="utf-8"))
    return bool(found["sha256"] == release.sha256.lower() and not changed_files(target))


def changed_files(root: Path) -> list[str]:
    """Names the files of an installed bundle that are missing or not as published; none without a receipt.

    Args:
        root: the bundle's folder.
    """
    receipt = root / RECEIPT
    if not receipt.is_file():
        return []
    files: dict[str, str] = json.loads(receipt.read_text(encoding="utf-8"))["files"]
    return [
        name for name, value in files.items() if not (root / name).is_file() or digest(root / name, "sha256") != value
    ]


def _version(target: Path) -> str:
    try:
        text = (target / "configs" / "metadata.json").read_text(encoding="utf-8")
        return f"version {json.loads(text)['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "something that is no bundle"
