"""``python -m medmamba_monai export``: a bundle's network as one file that runs without this package."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from medmamba_monai import export
from medmamba_monai.collection.bundles import Bundle, add_bundles_option, find_bundle
from medmamba_monai.collection.checkpoint import load_weights
from medmamba_monai.collection.checks import InputError, check_output_dir

__all__ = ["export_bundle", "load_network", "main"]

# Part of the largest output that file and network may differ by; float32 sums in another order differ by 1e-6.
TOLERANCE = 1e-3


def main(argv: Sequence[str]) -> int:
    """Writes one file, compares it with the network and prints both; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai export", description=__doc__)
    parser.add_argument("bundle", help="name of the bundle, or a part that only one has")
    parser.add_argument("--format", choices=list(export.FORMATS), required=True, help="kind of file")
    parser.add_argument("--output", metavar="FILE", required=True, help="file to write, with the format's suffix")
    parser.add_argument(
        "--any-size",
        action="store_true",
        help="let .pt2 and ONNX take images of any size too; takes minutes (TorchScript always does)",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="other weights than models/model.pt")
    add_bundles_option(parser)
    options = parser.parse_args(argv)
    bundle = find_bundle(options.bundle, options.bundles)
    apart = export_bundle(bundle, options.format, options.output, options.any_size, options.checkpoint)
    size = Path(options.output).stat().st_size / 1e6
    print(f"{options.output}: {size:.1f} MB, differs from the network by {apart:.0e} of its largest output")
    return 0


def export_bundle(
    bundle: Bundle, kind: str, output: str | Path, any_size: bool = False, checkpoint: str | Path | None = None
) -> float:
    """Writes the network of a bundle and returns how far it differs; nothing is left when it differs too much.

    The metadata and the configuration of inference lie in the file: as extra files of TorchScript and .pt2, among the
    properties of ONNX.

    Args:
        bundle: the bundle.
        kind: name of a format of :mod:`medmamba_monai.export`.
        output: file to write; an older one is replaced at the end.
        any_size: let .pt2 and ONNX take any size.
        checkpoint: other weights than the bundle's.

    Raises:
        InputError: when the suffix does not fit, or weights cannot be read or the file not be written.
        RuntimeError: when the file does not compute what the network computes.
    """
    output, suffix = Path(output), export.FORMATS[kind]
    if output.suffix != suffix:
        raise InputError(f"{output} does not end in {suffix}, as {kind} files do: give --output {output.stem}{suffix}")
    check_output_dir(output.parent)
    network = load_network(bundle, checkpoint)
    shape, free = bundle.input_shape, any_size or kind == "torchscript"
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(batch, *shape, generator=generator) for batch in (2, 1, 3)]
    if free:
        images.append(torch.randn(1, shape[0], *(n + 16 for n in shape[1:]), generator=generator))
    # The file has its name while it is written: the root of a TorchScript archive is the stem.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=output.parent) as folder:
        file = Path(folder) / output.name
        try:
            _write(network, kind, images[0], any_size, file, _texts(bundle))
        except OSError as error:
            raise InputError(f"cannot write {output} ({error.strerror}): free disk space or choose another") from error
        run = export.read(file)
        apart = max(export.difference(run, network, image) for image in images)
        if not apart < TOLERANCE:
            raise RuntimeError(f"{kind} differs from {bundle.name} by {apart:.1e} of its largest output: nothing kept")
        os.replace(file, output)
    return apart


def load_network(bundle: Bundle, checkpoint: str | Path | None = None) -> nn.Module:
    """The network of a bundle with its weights, in evaluation mode.

    Args:
        bundle: the bundle.
        checkpoint: other weights than the bundle's.

    Raises:
        InputError: when the weights cannot be read.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser(bundle.config("inference"))
    network: nn.Module = parser.get_parsed_content("network_def").eval()
    load_weights(checkpoint or bundle.weights, [network])
    return network


def _texts(bundle: Bundle) -> dict[str, str]:
    return {f"{name}.json": json.dumps(bundle.config(name)) for name in ("metadata", "inference")}


def _write(network: nn.Module, kind: str, image: Tensor, any_size: bool, file: Path, texts: dict[str, str]) -> None:
    if kind == "torchscript":
        export.save_torchscript(network, image, file, texts)
        return
    recorded = export.program(network, image, any_size)
    (export.save_onnx if kind == "onnx" else export.save_program)(recorded, file, texts)
