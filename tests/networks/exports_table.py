"""Write the table of docs/exports.md: every network of the registry in every format, run and compared with eager.

usage: python -m tests.networks.exports_table docs/exports.md [NETWORK ...]

Without names the networks that have no row yet are run, so that a run that was stopped goes on; names run these again.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import nn

from medmamba_monai import export
from medmamba_monai.networks import nets
from tests.networks.cases import CASES, TRACES_OF_ONE_SIZE, build
from tests.networks.inputs import Given, axes, inputs, kind
from tests.networks.tracing import forget

BEGIN = "<!-- table: python -m tests.networks.exports_table docs/exports.md -->"
END = "<!-- end of table -->"
HEAD = "| network | tried as | TorchScript, any batch and size | .pt2, any batch | ONNX, any batch |\n"
HEAD += "|---|---|---|---|---|"
TOLERANCE = 1e-4


def first_cases() -> dict[str, str]:
    """The first case of each network of the registry."""
    return {name: next(case for case, (of, _) in CASES.items() if of == name) for name in sorted(nets.__all__)}


def decays_slowly(network: nn.Module) -> nn.Module:
    """The network with every second state space of its scans kept for thousands of steps, the others as they start."""
    for name, parameter in network.named_parameters():
        if "A_log" in name:
            nn.init.constant_(parameter[::2], -8.0)
    return network


def row(name: str, case: str) -> str:
    """One line of the table."""
    net, size = decays_slowly(build(case)).eval(), (16,) * axes(case)
    given = inputs(case, size=size)
    batches = [inputs(case, batch=1, size=size), inputs(case, batch=3, size=size)]
    with tempfile.TemporaryDirectory() as folder:
        file, recorded = Path(folder) / "net", cache(lambda: export.program(net, given))
        found = [traced(net, case, file.with_suffix(".ts"), given, batches)]
        if kind(case) == "nodes":
            found += 2 * ["no: graphs lie side by side, so that no axis is that of the batch"]
        else:
            found.append(
                tried(net, file.with_suffix(".pt2"), lambda path: export.save_program(recorded(), path), batches)
            )
            found.append(
                tried(net, file.with_suffix(".onnx"), lambda path: export.save_onnx(recorded(), path), batches)
            )
    return f"| {name} | `{case}` | " + " | ".join(found) + " |"


def traced(net: nn.Module, case: str, file: Path, given: Given, others: list[Given]) -> str:
    """TorchScript, at another size too; where a trace keeps its size, at this size, with the reason."""
    reason = TRACES_OF_ONE_SIZE.get(case)
    sizes = [] if reason else [inputs(case)]
    said = tried(net, file, lambda path: export.save_torchscript(net, given, path), [*others, *sizes])
    forget()
    return said if reason is None else said.replace("yes", "one size") + f": {reason}"


def tried(net: nn.Module, file: Path, write: Callable[[Path], None], others: list[Given]) -> str:
    """Write a file, read it back and compare: the largest difference, or why there is none."""
    try:
        write(file)
        run = export.read(file)
        worst = max(export.difference(run, net, given) for given in others)
    except Exception as error:  # exporters raise anything
        return "no: " + re.sub(r"[|\s]+", " ", str(error).partition("\n")[0])[:150]
    return f"yes ({worst:.0e})" if worst < TOLERANCE else f"no: differs by {worst:.0e}"


def rows(text: str) -> dict[str, str]:
    """The rows of the page by network."""
    table = text.split(BEGIN)[1].split(END)[0]
    return {line.split("|")[1].strip(): line for line in table.strip().splitlines()[2:]}


def put(page: Path, name: str, new: str) -> None:
    """Put one row into the page, whole or not at all, and drop those of networks that are gone."""
    text = page.read_text(encoding="utf-8")
    found = rows(text) | {name: new}
    kept = [found[key] for key in sorted(found) if key in nets.__all__]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    partial = page.with_suffix(".partial")
    partial.write_text("\n".join([before + BEGIN, HEAD, *kept, END + after]), encoding="utf-8")
    os.replace(partial, page)


def main(file: str, *wanted: str) -> None:
    """Run the wanted networks, by default those without a row, and put each row into the page when it is there."""
    page, cases = Path(file), first_cases()
    done = rows(page.read_text(encoding="utf-8"))
    for name in wanted or [name for name in cases if name not in done]:
        new = row(name, cases[name])
        print(new, flush=True)
        put(page, name, new)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
