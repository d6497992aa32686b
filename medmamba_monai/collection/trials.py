"""What MONAI demands of a bundle that only building and running it can show: shapes, ids, weights, export, runs.

Each trial takes a bundle and a folder to write to, and gives the faults, one sentence each with the value and the fix.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.madeup import made_up_items

__all__ = ["export", "ids", "runs", "shapes", "weights"]

WORKFLOWS = (("train", ["train"]), ("train", ["train", "evaluate"]), ("inference", ["inference"]))
# configurations, options, and what is found afterwards in output_dir
RUNS: tuple[tuple[list[str], list[str], str], ...] = (
    (["train"], ["--epochs", "1", "--val_interval", "1"], "history.csv"),
    (["train", "evaluate"], [], "metrics.json"),
    (["inference"], [], "*"),
)
UNKNOWN = ("label", "carried", "dose", "group")  # what inference does not know of a case
TOLERANCE = 1e-4  # of an exported network's output, relative to the largest value
LIMIT = 900  # seconds of one run
Faults = Iterator[str]


def shapes(bundle: Bundle, folder: Path) -> Faults:
    """A1: the network takes and gives the shapes of the metadata, at two sizes where they hold expressions.

    Args:
        bundle: the bundle.
        folder: folder to write to.
    """
    from monai.bundle import verify_net_in_out

    configs = bundle.root / "configs"
    for scale in (1, 2):
        try:
            verify_net_in_out(
                net_id="network_def",
                meta_file=str(configs / "metadata.json"),
                config_file=str(configs / "inference.json"),
                device="cpu",
                n=scale,
                p=scale,
            )
        except (ValueError, RuntimeError) as error:
            yield f"at n = p = {scale}: {_short(error)}: correct network_data_format or network_def"


def ids(bundle: Bundle, folder: Path) -> Faults:
    """R5: every configuration can be built on made-up images and has the ids that MONAI's programs look for.

    Args:
        bundle: the bundle.
        folder: folder to write to.
    """
    from monai.bundle import ConfigWorkflow

    data = _override(bundle, folder)
    for workflow, files in WORKFLOWS:
        flow = ConfigWorkflow(
            config_file=[*(str(bundle.root / "configs" / f"{file}.json") for file in files), data[files[-1]]],
            meta_file=str(bundle.root / "configs" / "metadata.json"),
            logging_file=None,
            workflow_type=workflow,
            bundle_root=str(bundle.root),
            output_dir=str(folder / "out"),
        )
        flow.initialize()
        for missing in flow.check_properties() or []:
            yield f"{' + '.join(files)} has no {missing!r}, or under another id: see MONAI's bundle properties"


def weights(bundle: Bundle, folder: Path) -> Faults:
    """R6: the weights load with ``weights_only=True``, fit the network strictly, and are finite.

    Args:
        bundle: the bundle.
        folder: folder to write to.
    """
    network = _network(bundle)
    try:
        state = torch.load(bundle.weights, map_location="cpu", weights_only=True)
        network.load_state_dict(state.get("model", state))
    except pickle.UnpicklingError:
        yield "models/model.pt holds more than tensors and plain values, perhaps code: save a plain state dict"
    except RuntimeError as error:
        yield f"models/model.pt does not fit network_def ({_short(error)}): train again, or correct network_def"
    for key, value in network.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            yield f"models/model.pt holds NaN or infinite numbers in {key!r}: train again"


def export(bundle: Bundle, folder: Path) -> Faults:
    """A1 and A5: ``ckpt_export`` gives a TorchScript file with the metadata, equal to the network.

    Args:
        bundle: the bundle.
        folder: folder to write to.
    """
    from monai.bundle import ckpt_export

    file, configs = folder / "model.ts", bundle.root / "configs"
    image = bundle.metadata["network_data_format"]["inputs"]["image"]
    smallest = [eval(str(size), {"n": 1, "p": 1}) for size in image["spatial_shape"]]
    shape = [1, image["num_channels"], *smallest]
    ckpt_export(
        net_id="network_def",
        filepath=str(file),
        ckpt_file=str(bundle.weights),
        meta_file=str(configs / "metadata.json"),
        config_file=[str(configs / "inference.json")],
        key_in_ckpt="",
        use_trace=True,
        input_shape=shape,
    )
    extra = {"metadata.json": "", "inference.json": ""}
    exported = torch.jit.load(str(file), _extra_files=extra)
    if (
        json.loads(extra["metadata.json"] or "{}").get("version") != bundle.metadata["version"]
        or not extra["inference.json"]
    ):
        yield "the exported file carries no metadata.json or inference.json: MONAI Deploy needs both"
    network = _network(bundle)
    state = torch.load(bundle.weights, map_location="cpu", weights_only=True)
    network.load_state_dict(state.get("model", state))
    with torch.no_grad():
        probe = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        eager, found = network.eval()(probe), exported(probe)
    if not float((found - eager).abs().max()) <= TOLERANCE * max(float(eager.abs().max()), 1.0):
        yield "the exported network gives other numbers than the network: find the operation that tracing fixes"


def runs(bundle: Bundle, folder: Path) -> Faults:
    """A2: one epoch of training, an evaluation and an inference, started in an empty folder elsewhere.

    Args:
        bundle: the bundle; the runs write into a copy.
        folder: folder to write to.
    """
    root = Path(shutil.copytree(bundle.root, folder / bundle.name))
    data = _override(bundle, folder)
    before = (root / "models" / "model.pt").stat().st_mtime_ns
    for number, (files, options, result) in enumerate(RUNS):
        out = folder / f"out{number}"
        configs = [*(str(root / "configs" / f"{file}.json") for file in files), data[files[-1]]]
        fault = _run(root, configs, [*options, "--output_dir", str(out)], folder)
        if fault:
            yield f"{' + '.join(files)} failed on made-up images: {fault}"
        elif not any(out.glob(result)):
            yield f"{' + '.join(files)} wrote no {result} into its output_dir: correct the handlers"
        if files == ["train"] and (root / "models" / "model.pt").stat().st_mtime_ns == before:
            yield "training left models/model.pt as it was: its checkpoint saver must write it"


def _run(root: Path, configs: list[str], options: list[str], folder: Path) -> str | None:
    """Runs ``python -m monai.bundle run``; returns the last line of a failure."""
    foreign = folder / "elsewhere"
    foreign.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(root), "--config_file", str(configs)]
    done = subprocess.run(
        [*command, *options], cwd=foreign, env=_environment(), capture_output=True, text=True, timeout=LIMIT
    )
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if re.match(r"error:|[\w.]*Error\b", line)]
    return lines[0][:300] if lines else f"exit code {done.returncode}"


def _environment() -> dict[str, str]:
    """The environment of a run that finds this package although it starts in another folder."""
    here = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _override(bundle: Bundle, folder: Path) -> dict[str, str]:
    """Writes configurations that put made-up images in the place of the data; returns them by workflow."""
    classes = len(bundle.metadata["network_data_format"]["outputs"]["pred"]["channel_def"])
    items = made_up_items(bundle, folder, max(4, classes))
    parts: dict[str, dict[str, Any]] = {
        "train": {"train#dataset#data": items, "validate#dataset#data": items},
        "inference": {"dataset#data": [_known(bundle, item) for item in items]},
    }
    parts["evaluate"] = parts["train"]
    found = {}
    for name, part in parts.items():
        file = folder / f"made_up_{name}.json"
        file.write_text(json.dumps(part), encoding="utf-8")
        found[name] = str(file)
    return found


def _known(bundle: Bundle, item: dict[str, Any]) -> dict[str, Any]:
    # the organs that a dose spares are part of what is given
    return {key: part for key, part in item.items() if key not in UNKNOWN or (key, bundle.kind) == ("label", "dose")}


def _network(bundle: Bundle) -> nn.Module:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle.root / "configs" / "inference.json"))
    network: nn.Module = parser.get_parsed_content("network_def", instantiate=True)
    return network


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
