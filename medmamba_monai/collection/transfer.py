"""Fetches one file: resumed where it stopped, checked by sha256, and never half there under its own name."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.package import digest

__all__ = ["fetch", "read_text"]

BLOCK = 1 << 18
TRIES = 4
TIMEOUT = 30.0  # seconds without a byte


def read_text(address: str) -> str:
    """Reads a small text file from a URL or a local path.

    Args:
        address: http, https or file URL, or a path.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if _is_local(address):
            return Path(_local(address)).read_text(encoding="utf-8")
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
            text: str = answer.read(1 << 20).decode("utf-8")
            return text
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {address} ({_reason(error)}): check the address and the connection") from error


def fetch(address: str, target: str | Path, sha256: str) -> Path:
    """Fetches a file; what an earlier try left behind is used again.

    Bytes go to ``<target>.part``. When the hash is right that file gets its name; when it is wrong it is removed.

    Args:
        address: http, https or file URL, or a path.
        target: file to write.
        sha256: expected hash, 64 hexadecimal digits.

    Raises:
        InputError: the server fails again and again, the hash is wrong, or the disk is full.
    """
    target = Path(target)
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    if _is_local(address):
        _copy(address, part)
    else:
        _download(address, part)
    found = digest(part, "sha256")
    if found != sha256.lower():
        part.unlink()
        raise InputError(f"{address} has sha256 {found}, expected {sha256}: the file is not the published one; removed")
    os.replace(part, target)
    return target


def _copy(address: str, part: Path) -> None:
    try:
        shutil.copyfile(_local(address), part)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"cannot copy {address} ({_reason(error)}): check the path and the disk") from error


def _download(address: str, part: Path) -> None:
    reason = ""
    for _ in range(TRIES):
        try:
            if _append(address, part):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing is left to send: the part is complete, or of another file
                return
            reason = _reason(error)
            if error.code < 500:
                break
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = _reason(error)
        except OSError as error:
            raise InputError(f"cannot write {part} ({_reason(error)}): free disk space and try again") from error
    raise InputError(
        f"cannot download {address} ({reason}): check the address and the connection, and run the command again; "
        "it goes on where it stopped"
    )


def _append(address: str, part: Path) -> bool:
    """Asks for what is missing and appends it; true when the server's count of bytes is reached."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != 206:
            have = 0  # the server sends the whole file
        announced = answer.headers.get("Content-Length")
        whole = None if announced is None else have + int(announced)
        with part.open("r+b" if have else "wb") as sink:
            sink.seek(have)
            sink.truncate()
            have += _pour(answer, sink, _bar(part.name.removesuffix(".part"), have, whole))
    return whole is None or have == whole


def _pour(source: IO[bytes], sink: IO[bytes], show: Callable[[int], None]) -> int:
    count = 0
    while block := source.read(BLOCK):
        sink.write(block)
        count += len(block)
        show(count)
    show(-1)
    return count


def _bar(name: str, start: int, whole: int | None) -> Callable[[int], None]:
    """Returns what shows the progress on a terminal: called with the bytes so far, or -1 at the end."""

    def show(count: int) -> None:
        if not sys.stderr.isatty():
            return
        share = f" of {whole / 1e6:.1f}" if whole else ""
        line = f"\r{name}: {(start + count) / 1e6:.1f}{share} MB"
        print("" if count < 0 else line, end="\n" if count < 0 else "", file=sys.stderr, flush=True)

    return show


def _is_local(address: str) -> bool:
    return urllib.parse.urlsplit(address).scheme not in ("http", "https")


def _local(address: str) -> str:
    parts = urllib.parse.urlsplit(address)
    return urllib.request.url2pathname(parts.path) if parts.scheme == "file" else os.path.expanduser(address)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error or type(error).__name__)[:120]
