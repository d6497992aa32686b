"""Command line: ``python -m medmamba_monai COMMAND``. Each command lives in a module of its own, loaded when asked."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from medmamba_monai import __version__
from medmamba_monai.extras import missing_sentence

# command -> (module with main(argv) -> exit code, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": ("medmamba_monai.doctor", "tell what runs on this machine, what does not, and what to install"),
    "benchmark": ("medmamba_monai.benchmark", "time the scan or whole networks beside other packages"),
    "plan": ("medmamba_monai.collection.planned.write", "plan a bundle for a folder of images, by nnU-Net's rules"),
    "train": ("medmamba_monai.collection.planned.train", "train a planned bundle, or go on where it stopped"),
    "orders": ("medmamba_monai.scan_order_page", "list the scan orders, or write their page with a picture of each"),
    "convert": ("medmamba_monai.collection.planned.convert", "turn nnU-Net's U-Mamba folders into bundles, and back"),
    "prepare": ("medmamba_monai.collection.prepare", "check a public data set and lay it out for a bundle"),
    "list": (
        "medmamba_monai.collection.listing",
        "list the bundles: task, data, test result beside the best peer, size",
    ),
    "networks": ("medmamba_monai.collection.networks_page", "list the networks, or write their page"),
    "show": ("medmamba_monai.collection.show", "explain one bundle: input, output, results, licences, commands"),
    "demo": ("medmamba_monai.collection.demo", "run a bundle on an image that a Python package carries"),
    "card": ("medmamba_monai.collection.card", "write the measured parts of a bundle's page"),
    "package": ("medmamba_monai.collection.package", "write the zip files and the index of a release"),
    "download": ("medmamba_monai.collection.download", "get a bundle of a release, checked by its hash"),
    "verify": ("medmamba_monai.collection.verify", "check bundles against every rule of a standard MONAI bundle"),
    "monailabel": ("medmamba_monai.apps.command", "make the folder that a MONAI Label server loads"),
    "export": ("medmamba_monai.collection.export_bundle", "write a bundle's network as TorchScript, .pt2 or ONNX"),
    "runtimes": (
        "medmamba_monai.collection.runtimes",
        "compare a bundle's network in eager, bfloat16 and onnxruntime: speed, metric",
    ),
    "cohort": ("medmamba_monai.collection.cohort", "run a bundle over a folder of images, shared out and resumable"),
    "sample": ("medmamba_monai.collection.sample", "segment the hippocampi of a real head, or of your own image"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    A fault in what the user gave becomes one sentence on stderr and exit code 1; ``--traceback`` shows where it
    arose. Wrong options exit with 2, as argparse does; Ctrl-C with 130.
    """
    options = _parser().parse_args(argv)
    module, _ = COMMANDS[options.command]
    try:
        code: int = importlib.import_module(module).main(options.arguments)
        return code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        if options.traceback:
            raise
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {name:<11}{about}" for name, (_, about) in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m medmamba_monai",
        description="Mamba networks for medical images.",
        epilog="commands:\n" + "\n".join(lines) + "\n\nEach has its own --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"medmamba_monai {__version__}")
    parser.add_argument("--traceback", action="store_true", help="on an error, show where it arose (for bug reports)")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="what the command takes")
    return parser


def _sentence(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing_sentence(error.name)
    return str(error).strip() or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
