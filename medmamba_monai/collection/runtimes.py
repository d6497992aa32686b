"""``python -m medmamba_monai runtimes``: a bundle's network on a CPU by eager torch, in bfloat16 and by onnxruntime.

All of them take turns in one process with one thread; the best time of each counts.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai import export
from medmamba_monai.benchmark.measure import best
from medmamba_monai.collection.bundles import Bundle, add_bundles_option, find_bundle
from medmamba_monai.collection.export_bundle import export_bundle, load_network

__all__ = ["Called", "main", "metrics", "runtimes"]

EAGER = "eager float32"


def main(argv: Sequence[str]) -> int:
    """Measures and prints a table; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai runtimes", description=__doc__)
    parser.add_argument("bundle", help="name of the bundle, or a part that only one has")
    parser.add_argument("--dataset_dir", metavar="FOLDER", help="data of the bundle: also compare the metric on them")
    parser.add_argument("--cases", type=int, default=10, help="cases of the test list to take (default: 10)")
    parser.add_argument("--repeats", type=int, default=10, help="turns; the best is shown (default: 10)")
    add_bundles_option(parser)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    bundle = find_bundle(options.bundle, options.bundles)
    image = torch.randn(1, *bundle.input_shape, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        networks = runtimes(bundle, Path(folder))
        with torch.no_grad():
            times = best([partial(network, image) for network in networks.values()], options.repeats)
        print(f"one image of {' x '.join(map(str, image.shape[1:]))}, one thread, torch {torch.__version__}")
        for (name, network), spent in zip(networks.items(), times, strict=True):
            apart = export.difference(network, networks[EAGER], image)
            print(f"{name:<22}{spent:>9.1f} ms {spent / times[0]:>6.2f} x eager  differs {apart:.0e}")
        for name, network in networks.items() if options.dataset_dir else ():
            found = metrics(bundle, network, options.dataset_dir, options.cases)
            print(f"{name:<22}" + "  ".join(f"{key} {value:.4f}" for key, value in found.items()), flush=True)
    return 0


class Called(nn.Module):
    """A function as a network, for MONAI's evaluators.

    Args:
        function: takes an image and gives the output.
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Any:
        """Call the function with a plain tensor: onnxruntime knows no image with metadata."""
        return self.function(image.as_subclass(Tensor).contiguous())


def runtimes(bundle: Bundle, folder: Path) -> dict[str, nn.Module]:
    """The network of a bundle, run in each way.

    Args:
        bundle: the bundle.
        folder: folder to write the exported files to.
    """
    network = load_network(bundle)

    def half(image: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return network(image).float()

    file = folder / "network.onnx"
    export_bundle(bundle, "onnx", file)
    return {
        EAGER: network,
        "eager bfloat16": Called(half),
        "onnxruntime float32": Called(export.read(file, threads=1)),
    }


def metrics(bundle: Bundle, network: nn.Module, dataset_dir: str, cases: int) -> dict[str, float]:
    """What the bundle's evaluate.json measures of a network.

    Args:
        bundle: the bundle.
        network: the network, or one that stands in for it.
        dataset_dir: data of the bundle.
        cases: how many cases of the list to take.
    """
    from monai.bundle import ConfigWorkflow

    configs = bundle.root / "configs"
    changed: dict[str, Any] = {"validate#handlers": [], "validate#dataloader#batch_size": 1}
    # the lines of MONAI's logs would tear the table apart
    logging.disable(logging.WARNING)
    try:
        workflow = ConfigWorkflow(
            config_file=[str(configs / f"{name}.json") for name in ("train", "evaluate")],
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            workflow_type="evaluation",
            bundle_root=str(bundle.root),
            dataset_dir=dataset_dir,
            device=torch.device("cpu"),
            network=network.eval(),
            initialize=["$monai.utils.set_determinism(seed=0)"],
            **changed,
        )
        workflow.initialize()
        dataset = workflow.parser.get_parsed_content("validate#dataset")
        dataset.data = dataset.data[:cases]
        workflow.run()
    finally:
        logging.disable(logging.NOTSET)
    found: dict[str, Any] = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
    return {key: float(value) for key, value in found.items()}
