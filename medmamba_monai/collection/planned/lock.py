"""One process at a time works on a folder; the system frees the lock when that process ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medmamba_monai.collection.checks import InputError

__all__ = ["LOCK", "locked"]

LOCK = ".lock"


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold a folder for this process.

    Args:
        folder: existing folder; it gets a file ``.lock``.

    Raises:
        InputError: another process holds it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place, locked(place):
        ...     sorted(os.listdir(place))
        ['.lock']
    """
    file = os.open(Path(folder) / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        if not _take(file):
            raise InputError(f"another process works on {folder}: wait until it ends, or stop it")
        yield
    finally:
        os.close(file)


def _take(file: int) -> bool:
    try:
        if os.name == "nt":
            windows: Any = __import__("msvcrt")
            windows.locking(file, windows.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
