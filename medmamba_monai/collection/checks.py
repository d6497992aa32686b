"""Checks of what a user hands to a bundle: images, weights, folders. One clear sentence for each fault.

Inside other programs the functions raise :class:`InputError`. A bundle's command line wraps them in
:func:`or_stop`, which ends the program with the sentence and exit code 1 instead of a traceback.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class InputError(ValueError):
    """A fault in what the user supplied. The message names the value, the rule and the fix."""


def or_stop(action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``action(*args, **kwargs)``; an :class:`InputError` anywhere below ends the program with its sentence.

    The exit code is 1. Other exceptions pass through. For the configs of bundles only: a server or a notebook
    calls the checks themselves.
    """
    try:
        return action(*args, **kwargs)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(file=sys.stderr)  # a progress bar may have left its line open
        raise SystemExit(f"error: {sentence}") from None


def _sentence(error: BaseException | None) -> str | None:
    """The message of the InputError in a chain of exceptions; MONAI's SaveImage keeps its cause only as text."""
    while error is not None:
        if isinstance(error, InputError):
            return str(error)
        quoted = re.search(r"InputError: (.+)", str(error))
        if quoted:
            return quoted.group(1)
        error = error.__cause__ or error.__context__
    return None


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image as MONAI's ``LoadImage`` does.

    Raises:
        InputError: the file is missing, empty, truncated or of no format that MONAI's readers know.
    """
    from monai.transforms import LoadImage

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): copy or export the image again")
    try:
        return np.asarray(LoadImage(image_only=True)(str(path)))
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory ({error}): crop or resample it") from error
    except Exception as error:  # readers raise anything from EOFError to ImageFileError
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:120]
        raise InputError(
            f"{path} cannot be read as an image ({type(error).__name__}: {reason}): "
            "the file is truncated, or not an image; copy or export it again"
        ) from error


def check_image(
    path: str | os.PathLike[str], spatial_dims: int, channels: Sequence[int] = (1,), min_size: int = 8
) -> None:
    """Check one image file: sound header, readable, right number of axes and channels, large enough, numbers finite.

    Args:
        path: image file, or a folder that holds one DICOM series.
        spatial_dims: 2 for pictures, 3 for volumes.
        channels: the channel counts that are accepted; an image without channel axis counts as 1.
        min_size: smallest length of a spatial axis, in voxels; one of a volume may be as short as 2 (thick slices).

    Raises:
        InputError: with one sentence that names the file, the value, the rule and the fix.
    """
    from medmamba_monai.collection.headers import check_header

    check_header(path, spatial_dims)
    array = read_array(path)
    shape, spatial = array.shape, array.shape[:spatial_dims]
    extra = [n for n in shape[spatial_dims:] if n != 1]
    kind = "volume (3 axes)" if spatial_dims == 3 else "picture (2 axes)"
    if array.ndim < spatial_dims or len(extra) > 1:
        raise InputError(f"{path} has shape {shape}, but this bundle reads a {kind}: give one {kind}")
    found = extra[0] if extra else 1
    if found not in channels:
        wanted = " or ".join(str(c) for c in channels)
        raise InputError(
            f"{path} has {found} channels (shape {shape}), but {wanted} is needed: give one channel or time point"
        )
    slices, *sides = sorted(spatial) if spatial_dims == 3 else (min_size, *spatial)
    if min(sides) < min_size or slices < 2:
        also = " (the axis across slices 2)" if spatial_dims == 3 else ""
        raise InputError(
            f"{path} has size {tuple(spatial)}, but each axis needs at least {min_size} voxels{also}: "
            "give a larger image"
        )
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise InputError(
            f"{path} holds {bad} NaN or infinite voxels: replace them, for example by numpy.nan_to_num, and save again"
        )


def check_items(
    items: Sequence[Mapping[str, Any]],
    spatial_dims: int,
    channels: Sequence[int] = (1,),
    min_size: int = 8,
    keys: Sequence[str] = ("image",),
) -> None:
    """Check the images of every item of a MONAI datalist, and that its ``label`` file has the first one's shape.

    Args:
        items: the datalist.
        spatial_dims: 2 for pictures, 3 for volumes.
        channels: the channel counts that are accepted.
        min_size: smallest length of a spatial axis, in voxels.
        keys: keys of the images; a list of files under a key is one image of several channels.

    Raises:
        InputError: no items, or faults in one or more files; all faulty files are named, at most ten in full.
    """
    if not items:
        raise InputError("no image was found: give --image FILE, or --dataset_dir FOLDER with images in it")
    faults = []
    for item in items:
        try:
            for file in (file for key in keys for file in _files(item[key])):
                check_image(file, spatial_dims, channels, min_size)
            if isinstance(item.get("label"), (str, os.PathLike)):
                check_label(item[keys[0]], item["label"], spatial_dims)
        except InputError as error:
            faults.append(str(error))
    if faults:
        more = f"\n... and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise InputError("\n".join(faults[:10]) + more)


def _files(image: Any) -> Sequence[Any]:
    return image if isinstance(image, (list, tuple)) else [image]


def check_label(image: str | os.PathLike[str], label: str | os.PathLike[str], spatial_dims: int = 3) -> None:
    """Check that a label map is readable and has the size of its image; channels may differ.

    Args:
        image: image file.
        label: label file.
        spatial_dims: 2 for pictures, 3 for volumes.

    Raises:
        InputError: the label cannot be read, or the shapes differ.
    """
    of_image, of_label = (read_array(path).shape[:spatial_dims] for path in (image, label))
    if of_image != of_label:
        raise InputError(f"{label} has shape {of_label}, but its image {image} has {of_image}: export both on one grid")


def check_output_dir(path: str | os.PathLike[str]) -> None:
    """Check that a folder exists, or can be made, and can be written to.

    Raises:
        InputError: it cannot.
    """
    path = Path(path)
    probe = path / f".write_test_{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"0" * 4096)
    except OSError as error:
        raise InputError(
            f"cannot write into {path} ({error.strerror}): choose another folder with --output_dir, or free disk space"
        ) from None
    finally:
        if path.is_dir() and probe.exists():
            probe.unlink()
