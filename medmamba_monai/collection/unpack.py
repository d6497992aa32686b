"""Opens the zip file of a bundle without trusting it: no paths outside, no links, no bombs, one top folder."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from medmamba_monai.collection.checks import InputError

__all__ = ["unpack"]

LARGEST = 4 << 30  # bytes of all files together
MOST = 10_000  # files
LARGEST_RATIO = 200  # of a file's size to its compressed size; text of zeros reaches 1000
NEEDED = ("configs/metadata.json", "configs/inference.json", "models")


def unpack(archive: str | Path, name: str, folder: str | Path) -> Path:
    """Unpacks a bundle into a new folder that must not exist.

    Everything is checked before the first file is written. When something fails, the folder is removed.

    Args:
        archive: zip file with one top folder.
        name: name of the bundle, which must be the top folder's.
        folder: folder to make; it becomes the bundle's root.

    Raises:
        InputError: no zip file, truncated, an unsafe member, another top folder, or files missing.
    """
    folder = Path(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(members, name, Path(archive))
            for member in members:
                target = folder.joinpath(*PurePosixPath(member.filename).parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink)
        missing = [part for part in NEEDED if not (folder / part).exists()]
        if missing:
            raise InputError(f"{archive} holds no {name}/{missing[0]}: it is not a whole bundle; download it again")
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = str(error) or type(error).__name__
        raise InputError(f"{archive} cannot be unpacked ({reason}): download it again, or free disk space") from error
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _check(members: list[zipfile.ZipInfo], name: str, archive: Path) -> None:
    if len(members) > MOST:
        raise InputError(f"{archive} is refused: it holds {len(members)} files, more than {MOST}")
    seen: set[str] = set()
    for member in members:
        path = PurePosixPath(member.filename)
        fault = None
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
            fault = "leads out of the folder"
        elif path.parts[0] != name or len(path.parts) < 2:
            fault = f"is not in the one top folder {name}/"
        elif stat.S_ISLNK(member.external_attr >> 16):
            fault = "is a symbolic link"
        elif member.file_size > LARGEST_RATIO * max(member.compress_size, 1024):
            fault = f"unpacks to more than {LARGEST_RATIO} times its size"
        elif path.as_posix().casefold() in seen:
            fault = "is there twice"
        if fault:
            raise InputError(f"{archive} is refused: {member.filename!r} {fault}; get the bundle from its publisher")
        seen.add(path.as_posix().casefold())
    total = sum(member.file_size for member in members)
    if total > LARGEST:
        raise InputError(f"{archive} is refused: it unpacks to {total / 1e9:.1f} GB, more than {LARGEST / 1e9:.1f} GB")
