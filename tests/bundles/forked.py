"""Runs ``python -m monai.bundle`` without the seconds that loading MONAI takes: a loaded process forks for each run.

The child has the arguments, folder, output and exit code that a fresh process would have.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LIMIT = 900  # seconds


class LoadedProcess:
    """A process that has imported what bundles use, and waits for command lines."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run ``python -m monai.bundle ARGUMENTS`` in a folder."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory() as work:
            files = [str(Path(work) / name) for name in ("stdout", "stderr")]
            request = {"arguments": list(arguments), "folder": str(folder), "files": files}
            print(json.dumps(request), file=self.process.stdin, flush=True)
            code = int(self.process.stdout.readline())
            out, err = (Path(file).read_text(encoding="utf-8", errors="replace") for file in files)
        return subprocess.CompletedProcess(["python", "-m", "monai.bundle", *arguments], code, out, err)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def serve() -> None:
    """Fork for each line of the standard input; in the child go on as the command."""
    import ignite.handlers  # noqa: F401
    import monai.bundle  # noqa: F401
    import nibabel  # noqa: F401

    import medmamba_monai.collection.checkpoint
    import medmamba_monai.collection.datasets
    import medmamba_monai.collection.evaluation  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            become(request)
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(request: dict) -> None:
    """Take the place of a fresh ``python -m monai.bundle``; its errors and exit code are this process's own."""
    signal.alarm(LIMIT)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for number, file in enumerate(request["files"], start=1):
        with open(file, "wb") as stream:
            os.dup2(stream.fileno(), number)
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv[1:] = request["arguments"]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
