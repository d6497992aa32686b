"""Files that appear whole or not at all: written to a temporary name beside the target, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.data import NibabelWriter

from medmamba_monai.collection.checks import InputError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name in the target's folder; rename it to ``path`` when the block ends well.

    When the block fails the temporary file is removed and an older file at ``path`` stays as it was.

    Args:
        path: the file to write; its folder is made when missing.

    Raises:
        InputError: the operating system refused to write (full disk, no permission).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("hello")
        >>> [p.name for p in folder.iterdir()]
        ['a.txt']
    """
    path = Path(path)
    # the whole suffix is kept: writers choose the format by it (".nii.gz")
    temporary = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0][:120]
        raise InputError(
            f"cannot save {path} ({reason}): free disk space or choose another folder; nothing half-written was left"
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


class AtomicNibabelWriter(NibabelWriter):
    """MONAI's NIfTI writer, except that a file appears whole or not at all.

    Give its dotted name as ``writer`` to ``SaveImage`` or ``SaveImaged``.
    """

    def write(self, filename: str | os.PathLike[str], verbose: bool = False, **obj_kwargs: Any) -> None:
        """Write the array set before to ``filename``.

        Raises:
            InputError: the operating system refused to write.
        """
        with replacing(filename) as temporary:
            super().write(temporary, verbose=verbose, **obj_kwargs)
