"""Networks as files that run without this package: TorchScript, torch.export (.pt2) and ONNX, in plain torch operators.

While a graph is recorded every scan takes its plain form (`ops.backends.chunked`), so no compiled operator gets in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FORMATS", "difference", "program", "read", "save_onnx", "save_program", "save_torchscript"]

# format -> suffix of its files
FORMATS = {"torchscript": ".ts", "pt2": ".pt2", "onnx": ".onnx"}
Path = str | os.PathLike[str]
Texts = Mapping[str, str]
# an image, or all inputs of a network that takes several
Given = Tensor | Sequence[Tensor]


def save_torchscript(network: nn.Module, given: Given, file: Path, texts: Texts | None = None) -> None:
    """Trace a network and write it, for any batch and size, with texts as extra files of the archive.

    Args:
        network: a network in evaluation mode.
        given: an image, or the network's several inputs; others of another size may be given to the file.
        file: path to write. Do not rename it afterwards: the root of the archive is the file's stem.
        texts: names and contents of extra files, such as ``metadata.json``.

    Shape:
        given (B, C, *S).
    """
    with torch.no_grad():
        traced = torch.jit.trace(network, _all(given), check_trace=False)
    torch.jit.save(traced, os.fspath(file), dict(texts or {}))


def program(network: nn.Module, given: Given, any_size: bool = False) -> torch.export.ExportedProgram:
    """Record a network with torch.export, for any batch of at least 2 or, with a batch of 1 given, for this one alone.

    Args:
        network: a network in evaluation mode.
        given: an image, or the network's several inputs, all with the batch as their first axis.
        any_size: leave the spatial size open too; recording takes several times longer.

    Shape:
        given (B, C, *S).

    Example:
        >>> recorded = program(nn.Conv2d(1, 3, 3).eval(), torch.zeros(2, 1, 8, 8), any_size=True)
        >>> recorded.module()(torch.zeros(4, 1, 5, 9)).shape
        torch.Size([4, 3, 3, 7])
    """
    inputs = _all(given)
    open_axes = [[*range(len(x) > 1), *(range(2, x.dim()) if any_size else ())] for x in inputs]
    free = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in open_axes)
    with torch.no_grad():
        return torch.export.export(network, inputs, dynamic_shapes=free)


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

    One input is called ``image``, several have their names in the network's ``forward``; outputs are ``pred``,
    ``pred_2`` and so on.

    Args:
        recorded: result of `program`.
        file: path to write.
        texts: names and contents of properties.

    Notes:
        onnxscript's optimiser is left out: it takes minutes for networks with many scans, and onnxruntime simplifies
        the graph itself when it loads the file.
    """
    inputs, outputs = list(recorded.graph_signature.user_inputs), len(recorded.graph_signature.user_outputs)
    names: dict[str, Any] = {
        "input_names": ["image"] if len(inputs) == 1 else [str(name) for name in inputs],
        "output_names": ["pred", *(f"pred_{number}" for number in range(2, outputs + 1))],
    }
    converted = torch.onnx.export(recorded, (), dynamo=True, verbose=False, optimize=False, **names)
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


def read(file: Path, threads: int = 0) -> Callable[..., Any]:
    """A written file as a function from the inputs to the network's output, run by torch or onnxruntime.

    Args:
        file: path with one of the suffixes of `FORMATS`.
        threads: threads of onnxruntime; 0: its own choice. torch has a setting of its own for all it runs.
    """
    path = os.fspath(file)
    if path.endswith(".ts"):
        loaded: Callable[..., Any] = torch.jit.load(path)
        return loaded
    if path.endswith(".pt2"):
        return torch.export.load(path).module()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        found = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
        return torch.from_numpy(found[0]) if len(found) == 1 else tuple(map(torch.from_numpy, found))

    return run


def difference(exported: Callable[..., Any], network: nn.Module, given: Given) -> float:
    """Largest difference between an exported network and the network, as a part of the largest output.

    Args:
        exported: result of `read`.
        network: the network in evaluation mode.
        given: an image, or the network's several inputs; of several outputs the one that differs most counts.

    Shape:
        given (B, C, *S).
    """
    with torch.no_grad():
        expected, found = _all(network(*_all(given))), _all(exported(*_all(given)))
    if [y.shape for y in found] != [y.shape for y in expected]:
        return float("inf")
    parts = [(y - e).abs().max() / e.abs().max().clamp(min=1e-6) for y, e in zip(found, expected, strict=True)]
    return max(map(float, parts))


def _all(given: Given) -> tuple[Tensor, ...]:
    return (given,) if isinstance(given, Tensor) else tuple(given)
