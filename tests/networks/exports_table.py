"""Write the table of docs/exports.md: every network of the registry in every format, run and compared with eager.

usage: python -m tests.networks.exports_table docs/exports.md [NETWORK ...]
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from medmamba_monai import export
from medmamba_monai.networks import nets
from tests.networks.cases import CASES, build, image
from tests.networks.inputs import kind

BEGIN = "<!-- table: python -m tests.networks.exports_table docs/exports.md -->"
END = "<!-- end of table -->"
HEAD = "| network | tried as | TorchScript, any batch and size | .pt2, any batch | ONNX, any batch |\n"
HEAD += "|---|---|---|---|---|"
TOLERANCE = 1e-4


def first_cases() -> dict[str, str]:
    """The first case of each network of the registry."""
    return {name: next(case for case, (of, _) in CASES.items() if of == name) for name in sorted(nets.__all__)}


def decays_slowly(network: nn.Module) -> nn.Module:
    """The network with the states of all its selective scans kept for thousands of steps."""
    for name, parameter in network.named_parameters():
        if "A_log" in name:
            nn.init.constant_(parameter, -8.0)
    return network


def row(name: str, case: str) -> str:
    """One line of the table."""
    if kind(case) != "image":
        return f"| {name} | `{case}` |" + f" no: it takes {kind(case)}, and these files take one image |" * 3
    net = decays_slowly(build(case)).eval()
    size = (16,) * net.spatial_dims
    x = image(case, size=size)
    same_size = [image(case, batch=1, size=size), image(case, batch=3, size=size)]
    with tempfile.TemporaryDirectory() as folder:
        file, recorded = Path(folder) / "net", cache(lambda: export.program(net, x))
        writers: dict[str, Callable[[Path], None]] = {
            ".ts": lambda path: export.save_torchscript(net, x, path),
            ".pt2": lambda path: export.save_program(recorded(), path),
            ".onnx": lambda path: export.save_onnx(recorded(), path),
        }
        found = []
        for suffix, write in writers.items():
            others = [*same_size, image(case)] if suffix == ".ts" else same_size
            found.append(tried(net, file.with_suffix(suffix), write, others))
    return f"| {name} | `{case}` | " + " | ".join(found) + " |"


def tried(net: nn.Module, file: Path, write: Callable[[Path], None], images: list[Tensor]) -> str:
    """Write a file, read it back and compare: the largest difference, or why there is none."""
    try:
        write(file)
        run = export.read(file)
        worst = max(export.difference(run, net, given) for given in images)
    except Exception as error:  # exporters raise anything
        return "no: " + re.sub(r"[|\s]+", " ", str(error).partition("\n")[0])[:150]
    return f"yes ({worst:.0e})" if worst < TOLERANCE else f"no: differs by {worst:.0e}"


def main(file: str, *wanted: str) -> None:
    """Replace the rows of the wanted networks, all by default, and drop those of networks that are gone."""
    page, cases = Path(file), first_cases()
    for name in wanted or cases:
        new = row(name, cases[name])
        print(new, flush=True)
        text = page.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        table, after = rest.split(END)
        rows = {line.split("|")[1].strip(): line for line in table.strip().splitlines()[2:]} | {name: new}
        lines = [rows[key] for key in sorted(rows) if key in cases]
        page.write_text("\n".join([before + BEGIN, HEAD, *lines, END + after]), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
