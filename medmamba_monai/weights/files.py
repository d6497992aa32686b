"""Reading files of weights without running what they contain."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai.weights.convert import WeightsError, convert


def load(path: str | os.PathLike[str], network: nn.Module) -> None:
    """Fill a network from a file of weights, the authors' or ours, strictly.

    Args:
        path: a file written by ``torch.save``.
        network: the network to fill; it stays as it is when the weights do not fit.

    Raises:
        WeightsError: when the file cannot be read or does not fit, in one sentence.

    Example:
        >>> import tempfile
        >>> net = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(net.state_dict(), f"{folder}/model.pt")
        ...     load(f"{folder}/model.pt", net)
    """
    content = read(path)
    try:
        state: dict[str, Tensor] = convert(content, network)
    except WeightsError as error:
        raise WeightsError(f"{os.fspath(path)}: {error}") from None
    network.load_state_dict(state)


def read(path: str | os.PathLike[str]) -> Any:
    """Return what ``torch.save`` wrote, unpickling nothing but tensors and plain values, on the CPU.

    NumPy numbers are let through: checkpoints of nnU-Net trainers log them.

    Raises:
        WeightsError: when the file is missing, truncated, foreign or would run code, in one sentence.

    Example:
        >>> read("nothing.pt")
        Traceback (most recent call last):
        medmamba_monai.weights.convert.WeightsError: nothing.pt does not exist: check the path
    """
    file = Path(path)
    if not file.exists():
        raise WeightsError(f"{file} does not exist: check the path")
    if not file.is_file():
        raise WeightsError(f"{file} is a folder: give the file of weights in it")
    if file.stat().st_size == 0:
        raise WeightsError(f"{file} is empty (0 bytes): download or save it again")
    try:
        _refuse_broken_archive(file)
        with torch.serialization.safe_globals(_numpy_numbers()):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_unpickling_fault(file, str(error))) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{file} is truncated, damaged or no file of weights ({type(error).__name__}): download or save it again"
        ) from None


def _refuse_broken_archive(file: Path) -> None:
    """torch.load checks the archive's index only; a flipped byte inside would become wrong weights."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(name.endswith("constants.pkl") for name in names):
            raise WeightsError(f"{file} is a TorchScript archive, not a file of weights: open it with torch.jit.load")
        try:
            broken = archive.testzip()
        except zipfile.BadZipFile as error:
            broken = str(error)
        if broken is not None:
            raise WeightsError(f"{file} is damaged (the checksum of {broken} is wrong): download or save it again")


def _unpickling_fault(file: Path, reason: str) -> str:
    named = re.search(r"(?i)unsupported global:? (?:GLOBAL )?(\S+)", reason)
    if named:
        return f"{file} holds {named[1]}, which would run code when read: save its state dict alone with torch.save"
    return f"{file} is truncated, damaged or no file of weights: download or save it again"


def _numpy_numbers() -> list[Any]:
    import numpy as np

    core = getattr(np, "_core", None) or np.core
    kinds = {type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")}
    return [core.multiarray.scalar, np.dtype, *kinds]
