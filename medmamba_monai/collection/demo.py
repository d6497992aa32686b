"""``python -m medmamba_monai demo NAME``: runs a bundle on a sample that comes inside a Python package.

Nothing is downloaded. Where no package brings a fitting image, the command for an own image is told.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from medmamba_monai.collection import sample
from medmamba_monai.collection.bundles import Bundle, add_bundles_option, find_bundle
from medmamba_monai.collection.checks import InputError, check_output_dir
from medmamba_monai.collection.show import commands
from medmamba_monai.extras import missing_sentence

__all__ = ["SAMPLES", "Sample", "main"]


@dataclass(frozen=True)
class Sample:
    """An image inside an installed package.

    Args:
        package: import name of the package.
        file: its file, relative to the package.
        about: what it shows.
    """

    package: str
    file: str
    about: str


# bundle -> the image it is shown on; the hippocampus bundle has a command of its own
SAMPLES = {
    "umamba_nuclei_microscopy_segmentation": Sample(
        "skimage", "data/ihc.png", "stained tissue of the colon, from the scikit-image package"
    ),
}


def main(argv: Sequence[str]) -> int:
    """Runs the bundle, prints where the results are, and returns the exit code.

    Args:
        argv: arguments of the command.
    """
    parser = argparse.ArgumentParser(
        prog="python -m medmamba_monai demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="name of a bundle, or a part that only one has")
    parser.add_argument("--output", metavar="FOLDER", help="default: a folder called like the bundle")
    add_bundles_option(parser)
    options = parser.parse_args(argv)
    bundle = find_bundle(options.name, options.bundles)
    output = options.output or bundle.name
    if bundle.name == sample.BUNDLE:
        return sample.main(["hippocampus", "--bundle", str(bundle.root), "--output", output])
    if bundle.name not in SAMPLES:
        raise InputError(
            f"no Python package brings an image for {bundle.name}; on your own: {next(iter(commands(bundle).values()))}"
        )
    _run(bundle, SAMPLES[bundle.name], Path(output).expanduser().resolve())
    return 0


def _run(bundle: Bundle, image: Sample, output: Path) -> None:
    if find_spec(image.package) is None:
        raise InputError(missing_sentence(image.package))
    check_output_dir(output)
    source = Path(str(files(image.package) / image.file))
    copy = output / "input" / source.name
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, copy)
    print(f"image     {image.about}: {copy}")
    command = sample.bundle_command(bundle.root, copy.parent, output)
    sample.run_bundle(command)
    found = sorted(path.name for path in output.iterdir() if path.is_file() and path.name.startswith(source.stem))
    print(f"results   {output}: {', '.join(found)}")
