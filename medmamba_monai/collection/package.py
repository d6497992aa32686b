"""``python -m medmamba_monai package``: the zip files of a release, the same bytes from the same bundles."""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from medmamba_monai.collection.bundles import Bundle, add_bundles_option, all_bundles, find_bundle
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.savers import replacing

__all__ = ["SUMS", "digest", "main", "package", "write_index"]

SUMS = "sha256sums.txt"
# what a bundle ships; logs, checkpoints and results of runs inside the folder stay behind
SHIPPED = (
    "LICENSE",
    "large_files.yml",
    "configs/**/*",
    "docs/**/*",
    "models/model.pt",
    "models/model.ts",
    "models/low_resolution/model.pt",  # the first stage of a cascade
)


def main(argv: Sequence[str]) -> int:
    """Writes the files of a release and prints their names; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai package", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundles (default: all)")
    parser.add_argument(
        "--out", metavar="FOLDER", default="dist_bundles", help="folder to write (default: %(default)s)"
    )
    parser.add_argument(
        "--url", metavar="URL", default="", help="address that the zip files will have, for models/model_info.json"
    )
    add_bundles_option(parser)
    options = parser.parse_args(argv)
    names = dict.fromkeys(options.names)
    chosen = [find_bundle(name, options.bundles) for name in names] or all_bundles(options.bundles)
    folder = Path(options.out).expanduser()
    files = [package(bundle, folder) for bundle in chosen]
    write_index(folder, options.url)
    for file in files:
        print(f"{file}  {file.stat().st_size / 1e6:.1f} MB  sha256 {digest(file, 'sha256')}")
    return 0


def package(bundle: Bundle, folder: str | Path) -> Path:
    """Writes ``<name>_v<version>.zip`` with one top folder ``<name>/``.

    Names are sorted, times and permissions fixed, so that the same files give the same bytes.

    Args:
        bundle: the bundle.
        folder: folder to write to.

    Raises:
        InputError: the bundle has no weights or no version, or its version is not three single digits.
    """
    version = str(bundle.metadata.get("version", ""))
    if not (len(version) == 5 and version[::2].isdigit() and version[1::2] == ".."):
        raise InputError(f"{bundle.name} has version {version!r}: use three single digits such as 0.1.0")
    if not bundle.weights.is_file():
        raise InputError(f"{bundle.name} has no models/model.pt: train it first")
    target = Path(folder) / f"{bundle.name}_v{version}.zip"
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for file in _shipped(bundle.root):
            entry = zipfile.ZipInfo(f"{bundle.name}/{file.relative_to(bundle.root).as_posix()}")
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes(), compresslevel=9)
    return target


def _shipped(root: Path) -> Iterator[Path]:
    found = {path for pattern in SHIPPED for path in root.glob(pattern) if path.is_file()}
    for path in sorted(found, key=lambda path: path.relative_to(root).as_posix()):
        parts = path.relative_to(root).parts
        if not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield path


def write_index(folder: str | Path, url: str) -> None:
    """Writes ``models/model_info.json``, which MONAI reads, and ``sha256sums.txt`` for every zip file of a folder.

    Args:
        folder: folder of the zip files.
        url: address under which they will be found; without one the file names stand alone.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "net_task_v0.1.0.zip").write_bytes(b"")
        >>> write_index(folder, "https://host/files/")
        >>> json.loads((folder / "models" / "model_info.json").read_text())["net_task_v0.1.0"]["source"]
        'https://host/files/net_task_v0.1.0.zip'
    """
    folder = Path(folder)
    base = url.rstrip("/") + "/" if url else ""
    files = sorted(folder.glob("*_v*.zip"))
    info = {file.stem: {"checksum": digest(file, "sha1"), "source": base + file.name} for file in files}
    sums = "".join(f"{digest(file, 'sha256')}  {file.name}\n" for file in files)
    for name, text in (("models/model_info.json", json.dumps(info, indent=4) + "\n"), (SUMS, sums)):
        with replacing(folder / name) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")


def digest(file: str | Path, kind: str) -> str:
    """Hash of a file as hexadecimal digits.

    Args:
        file: file to read.
        kind: name of the hash: ``sha256`` or ``sha1``.
    """
    found = hashlib.new(kind)
    with Path(file).open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()
