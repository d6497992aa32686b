"""``python -m medmamba_monai cohort``: a bundle's inference over a folder of images, shared out, resumable.

Under torchrun, or with RANK and WORLD_SIZE set by a job array, each process takes its part of the images. They never
talk to each other: a process that dies stops no other one, and a second run does what the first left.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from medmamba_monai.collection.bundles import Bundle, add_bundles_option, find_bundle
from medmamba_monai.collection.checks import InputError, check_output_dir
from medmamba_monai.collection.datasets import input_files
from medmamba_monai.collection.savers import replacing

__all__ = ["Cohort", "main", "place"]

RECORDS = ".records"
SUMMARY = "summary.csv"
CHANCES = "predictions.csv"
Row = dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Does this process's part of a cohort and prints what was done; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai cohort", description=__doc__)
    parser.add_argument("bundle", help="name of the bundle, or a part that only one has")
    parser.add_argument("--images", metavar="FOLDER", required=True, help="folder of the images")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="folder of the results; keep it to go on")
    parser.add_argument("--overlay", action="store_true", help="also draw each result")
    add_bundles_option(parser)
    options = parser.parse_args(argv)
    rank, size = place()
    cohort = Cohort(find_bundle(options.bundle, options.bundles), options.images, options.output)
    counts = cohort.run(rank, size, options.overlay)
    said = ", ".join(f"{number} {what}" for what, number in counts.items())
    print(f"process {rank + 1} of {size}: {said}", flush=True)
    if cohort.summarise():
        print(f"all {len(cohort.items)} cases are in {cohort.folder / SUMMARY}", flush=True)
    return 0


def place() -> tuple[int, int]:
    """This process's number, from 0, and how many there are, as torchrun's RANK and WORLD_SIZE tell.

    Raises:
        InputError: when they are not numbers that fit.
    """
    given = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        rank, size = (int(number) for number in given)
    except ValueError:
        rank, size = -1, 0
    if not 0 <= rank < size:
        raise InputError(f"RANK is {given[0]} and WORLD_SIZE {given[1]}: give whole numbers, RANK from 0 to below it")
    return rank, size


class Cohort:
    """Images of a folder, each with a record in the results' folder once it is done.

    Args:
        bundle: the bundle that reads them.
        images: folder of the images.
        output: folder of the results.

    Raises:
        InputError: when there are no images, or the results' folder cannot be written.
    """

    def __init__(self, bundle: Bundle, images: str | Path, output: str | Path) -> None:
        self.bundle = bundle
        self.folder = Path(output).resolve()
        check_output_dir(self.folder)
        self.items: list[dict[str, Any]] = input_files("", images)
        self._network: Any = None

    def run(self, rank: int = 0, size: int = 1, overlay: bool = False) -> dict[str, int]:
        """Does every image of one part that has no record yet; returns the numbers done, skipped and failed.

        Args:
            rank: which part, from 0; part r holds the images r, r + size, r + 2 size, ...
            size: number of parts.
            overlay: also draw each result.
        """
        counts = {"done": 0, "done before": 0, "failed": 0}
        scratch = self.folder / f".part-{rank}"
        for item in self.items[rank::size]:
            if self._done(item):
                counts["done before"] += 1
                continue
            # what a killed process left of its image
            shutil.rmtree(scratch, ignore_errors=True)
            row = self._infer(item, scratch, overlay)
            self._publish(item, scratch, row)
            counts["failed" if row.get("error") else "done"] += 1
        shutil.rmtree(scratch, ignore_errors=True)
        return counts

    def summarise(self) -> bool:
        """Writes the table of all images once each has a record; tells whether it did."""
        rows = list(self.rows())
        if len(rows) < len(self.items):
            return False
        columns = list(dict.fromkeys(key for row in rows for key in row if key != "error"))
        with (
            replacing(self.folder / SUMMARY) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, [*columns, "error"])
            writer.writeheader()
            writer.writerows(rows)
        return True

    def rows(self) -> Iterator[Row]:
        """What is recorded of each image, in the order of the images."""
        for item in self.items:
            file = self._record(item)
            if file.is_file():
                yield json.loads(file.read_text(encoding="utf-8"))

    def _record(self, item: dict[str, Any]) -> Path:
        return self.folder / RECORDS / f"{item['case']}.json"

    def _done(self, item: dict[str, Any]) -> bool:
        file = self._record(item)
        return file.is_file() and not json.loads(file.read_text(encoding="utf-8"))["error"]

    def _infer(self, item: dict[str, Any], scratch: Path, overlay: bool) -> Row:
        """Run the bundle's inference.json on one image, into a folder of its own."""
        named = {"case": item["case"], "image": item["image"]}
        try:
            workflow = self._workflow(item, scratch, overlay)
            workflow.initialize()
            self._network = workflow.parser.get_parsed_content("network")
            workflow.run()
            return {**named, **_values(scratch, item["case"]), "error": ""}
        except (Exception, SystemExit) as error:  # one bad image must not stop the others
            sentence = str(error).removeprefix("error: ").strip().splitlines() or [type(error).__name__]
            print(f"warning: {item['case']} failed: {sentence[0]}", file=sys.stderr, flush=True)
            return {**named, "error": sentence[0]}

    def _workflow(self, item: dict[str, Any], scratch: Path, overlay: bool) -> Any:
        from monai.bundle import ConfigWorkflow

        configs = self.bundle.root / "configs"
        kept = {} if self._network is None else {"network": self._network}
        return ConfigWorkflow(
            config_file=str(configs / "inference.json"),
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            workflow_type="inference",
            bundle_root=str(self.bundle.root),
            image=item["image"],
            output_dir=str(scratch),
            overlay=overlay,
            device=_device(),
            **kept,
        )

    def _publish(self, item: dict[str, Any], scratch: Path, row: Row) -> None:
        """Move an image's files to the results, then record it: without a record it is done again."""
        if not row["error"]:
            for file in sorted(scratch.iterdir()):
                if file.name != CHANCES:
                    os.replace(file, self.folder / file.name)
        with replacing(self._record(item)) as temporary:
            temporary.write_text(json.dumps(row), encoding="utf-8")


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def _values(folder: Path, case: str) -> Row:
    """The numbers that a bundle writes of an image: volumes, objects or probabilities."""
    found: Row = {}
    volumes, objects, chances = (folder / name for name in (f"{case}_volumes.json", f"{case}_objects.csv", CHANCES))
    if volumes.is_file():
        numbers = json.loads(volumes.read_text(encoding="utf-8"))
        unit = numbers.pop("unit")
        found |= {f"{name}_{unit}": number for name, number in numbers.items()}
    if objects.is_file():
        found["objects"] = len(objects.read_text(encoding="utf-8").splitlines()) - 1
    if chances.is_file():
        with open(chances, newline="", encoding="utf-8") as stream:
            found |= next(csv.DictReader(stream))
    return found
