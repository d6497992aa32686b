"""The bundles on disk: where they are, what their metadata and their stored evaluations say."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medmamba_monai.collection.checks import InputError

__all__ = ["Bundle", "add_bundles_option", "all_bundles", "find_bundle"]

CLONE = Path(__file__).resolve().parents[2] / "bundles"
Entry = dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """One bundle's folder.

    Args:
        root: folder that holds ``configs/metadata.json``.
    """

    root: Path

    @property
    def name(self) -> str:
        """Name of the bundle, which is that of its folder."""
        return self.root.name

    @property
    def card(self) -> Path:
        """The page ``docs/README.md``."""
        return self.root / "docs" / "README.md"

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.root / "models" / "model.pt"

    def config(self, name: str) -> Entry:
        """Returns a file of ``configs`` as it is written.

        Args:
            name: file name without ``.json``.

        Raises:
            InputError: when it is missing.
        """
        file = self.root / "configs" / f"{name}.json"
        if not file.is_file():
            raise InputError(f"{self.root} has no configs/{name}.json: clone the repository again")
        found: Entry = json.loads(file.read_text(encoding="utf-8"))
        return found

    @cached_property
    def metadata(self) -> Entry:
        """What ``configs/metadata.json`` says."""
        return self.config("metadata")

    @property
    def evaluation_file(self) -> Path:
        """The stored evaluations, ``docs/evaluation.json``."""
        return self.root / "docs" / "evaluation.json"

    @cached_property
    def evaluation(self) -> dict[str, Entry]:
        """What is stored of each network; those of peers name their configuration under ``peer``."""
        if not self.evaluation_file.is_file():
            return {}
        found: dict[str, Entry] = json.loads(self.evaluation_file.read_text(encoding="utf-8"))
        return found

    @property
    def networks(self) -> dict[str, Entry]:
        """What is stored of the evaluated networks, the bundle's own first; empty as long as that one is missing.

        Plain methods that the report measured beside the network, such as interpolation, come last.
        """
        found = {name: entry for name, entry in self.evaluation.items() if "metrics" in entry}
        own = next((name for name, entry in found.items() if "peer" not in entry), None)
        if own is None:
            return {}
        plain: dict[str, Entry] = found[own].get("beside", {})
        return {own: found.pop(own)} | found | plain

    @property
    def kind(self) -> str:
        """The task by the last word of the name, such as ``segmentation`` or ``registration``."""
        return self.name.rpartition("_")[2]

    @property
    def classes(self) -> list[str]:
        """Names of the classes in the order of the outputs, background excluded.

        Where the outputs are no classes (registration, dose), those that the report of the evaluation names.
        """
        if self.kind in ("registration", "dose"):
            steps = self.config("evaluate").get("validate#handlers", [])
            return next((list(step["classes"]) for step in steps if "classes" in step), [])
        channels: dict[str, str] = self.metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        return [name for name in channels.values() if name != "background"]

    @property
    def image_channels(self) -> int:
        """Channels of an image's file; the network of a cascade also reads the classes of the first stage."""
        channels = int(self.metadata["network_data_format"]["inputs"]["image"]["num_channels"])
        return channels - len(self.classes) if "low_resolution" in self.config("inference") else channels

    @property
    def input_shape(self) -> list[int]:
        """Channels and size of the input of one pass of the network."""
        image = self.metadata["network_data_format"]["inputs"]["image"]
        inference = self.config("inference")
        smallest = [eval(str(size), {"n": 1, "p": 1}) for size in image["spatial_shape"]]
        size = inference.get("window_size") or inference.get("image_size") or smallest
        return [image["num_channels"], *size]


def all_bundles(folder: str | Path) -> list[Bundle]:
    """Returns the bundles of a folder by name.

    Args:
        folder: folder of the bundles.

    Raises:
        InputError: when it holds none.
    """
    found = [Bundle(file.parents[1]) for file in sorted(Path(folder).glob("*/configs/metadata.json"))]
    if not found:
        raise InputError(f"no bundle in {folder}: run from a clone of the repository, or give --bundles FOLDER")
    return found


def find_bundle(name: str, folder: str | Path) -> Bundle:
    """Returns the bundle of a name; a part of the name will do when only one bundle has it.

    Args:
        name: name of the bundle, or a part of it.
        folder: folder of the bundles.

    Raises:
        InputError: when no bundle, or more than one, is meant.
    """
    known = all_bundles(folder)
    exact = [bundle for bundle in known if bundle.name == name]
    meant = exact or [bundle for bundle in known if name in bundle.name]
    if len(meant) != 1:
        fault = "is unknown" if not meant else "fits more than one"
        among = ", ".join(bundle.name for bundle in meant or known)
        raise InputError(f"bundle {name!r} {fault}: give one of {among}")
    return Bundle(meant[0].root.resolve())


def add_bundles_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--bundles FOLDER``, the clone's bundles by default.

    Args:
        parser: parser of a command.
    """
    parser.add_argument("--bundles", metavar="FOLDER", default=str(CLONE), help="folder of the bundles")
