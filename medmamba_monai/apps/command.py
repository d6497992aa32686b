"""``python -m medmamba_monai monailabel``: makes the folder that MONAI Label's server loads, and prints its path."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from medmamba_monai.collection.checks import check_output_dir

__all__ = ["main"]

APP = Path(__file__).resolve().parent / "monailabel"


def main(argv: Sequence[str]) -> int:
    """Writes the app's folder, or brings it up to date, and prints its path; returns the exit code.

    Args:
        argv: arguments of the command.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    parser = argparse.ArgumentParser(
        prog="python -m medmamba_monai monailabel",
        description=__doc__,
        epilog='then: monailabel start_server --app "$(python -m medmamba_monai monailabel)" --studies FOLDER',
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        default=str(cache / "medmamba_monai" / "monailabel"),
        help="folder for the app, its logs and its copies of bundles (default: %(default)s)",
    )
    folder = Path(parser.parse_args(argv).out).expanduser().resolve()
    check_output_dir(folder)
    shutil.copyfile(APP / "main.py", folder / "main.py")
    print(folder)
    return 0
