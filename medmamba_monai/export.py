"""Networks as files that run without this package: TorchScript, torch.export (.pt2) and ONNX, in plain torch operators.

While a graph is recorded every scan takes its plain form (`ops.backends.chunked`), so no compiled operator gets in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FORMATS", "difference", "program", "read", "save_onnx", "save_program", "save_torchscript"]

# format -> suffix of its files
FORMATS = {"torchscript": ".ts", "pt2": ".pt2", "onnx": ".onnx"}
Path = str | os.PathLike[str]
Texts = Mapping[str, str]


def save_torchscript(network: nn.Module, image: Tensor, file: Path, texts: Texts | None = None) -> None:
    """Trace a network and write it, for any batch and size, with texts as extra files of the archive.

    Args:
        network: a network in evaluation mode.
        image: an input; one of another size may be given to the file.
        file: path to write. Do not rename it afterwards: the root of the archive is the file's stem.
        texts: names and contents of extra files, such as ``metadata.json``.

    Shape:
        image (B, C, *S).
    """
    with torch.no_grad():
        traced = torch.jit.trace(network, image, check_trace=False)
    torch.jit.save(traced, os.fspath(file), dict(texts or {}))


def program(network: nn.Module, image: Tensor, any_size: bool = False) -> torch.export.ExportedProgram:
    """Record a network with torch.export, for any batch of at least 2 or, with a batch of 1 given, for this one alone.

    Args:
        network: a network in evaluation mode.
        image: an input.
        any_size: leave the spatial size open too; recording takes several times longer.

    Shape:
        image (B, C, *S).

    Example:
        >>> recorded = program(nn.Conv2d(1, 3, 3).eval(), torch.zeros(2, 1, 8, 8), any_size=True)
        >>> recorded.module()(torch.zeros(4, 1, 5, 9)).shape
        torch.Size([4, 3, 3, 7])
    """
    batch = {0: torch.export.Dim.DYNAMIC} if image.shape[0] > 1 else {}
    size = dict.fromkeys(range(2, image.dim()), torch.export.Dim.DYNAMIC) if any_size else {}
    with torch.no_grad():
        return torch.export.export(network, (image,), dynamic_shapes=({**batch, **size},))


def save_program(recorded: torch.export.ExportedProgram, file: Path, texts: Texts | None = None) -> None:
    """Write a recorded network as .pt2, with texts as extra files of the archive.

    Args:
        recorded: result of `program`.
        file: path to write.
        texts: names and contents of extra files.
    """
    torch.export.save(recorded, file, extra_files=dict(texts or {}))


def save_onnx(recorded: torch.export.ExportedProgram, file: Path, texts: Texts | None = None) -> None:
    """Write a recorded network as ONNX, with texts among the properties of the model.

    Args:
        recorded: result of `program`.
        file: path to write.
        texts: names and contents of properties.

    Notes:
        onnxscript's optimiser is left out: it takes minutes for networks with many scans, and onnxruntime simplifies
        the graph itself when it loads the file.
    """
    converted = torch.onnx.export(
        recorded, (), dynamo=True, verbose=False, optimize=False, input_names=["image"], output_names=["pred"]
    )
    assert converted is not None
    for node in converted.model.graph:
        # A missing bias is written as an expanded zero, which onnxruntime refuses; a real one is a stored tensor.
        if node.op_type in ("Conv", "ConvTranspose") and len(node.inputs) == 3:
            bias = node.inputs[2]
            if bias is not None and bias.producer() is not None:
                node.replace_input_with(2, None)
    for name, text in (texts or {}).items():
        converted.model.metadata_props[name] = text
    converted.save(os.fspath(file))


def read(file: Path) -> Callable[[Tensor], Tensor]:
    """A written file as a function from an image to the network's output, run by torch or onnxruntime.

    Args:
        file: path with one of the suffixes of `FORMATS`.
    """
    path = os.fspath(file)
    if path.endswith(".ts"):
        loaded: Callable[[Tensor], Tensor] = torch.jit.load(path)
        return loaded
    if path.endswith(".pt2"):
        return torch.export.load(path).module()
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {entry.name: image.numpy()})[0])

    return run


def difference(exported: Callable[[Tensor], Tensor], network: nn.Module, image: Tensor) -> float:
    """Largest difference between an exported network and the network, as a part of the largest output.

    Args:
        exported: result of `read`.
        network: the network in evaluation mode.
        image: an input.

    Shape:
        image (B, C, *S).
    """
    with torch.no_grad():
        expected, found = network(image), exported(image)
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
