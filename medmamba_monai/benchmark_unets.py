"""Time and memory of 2D segmentation networks beside MONAI's: ``python -m medmamba_monai benchmark unets``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from medmamba_monai.benchmark import Row, best, check_network, extra_memory, machine
from medmamba_monai.network_modes import Mode, inference, training_step
from medmamba_monai.networks.nets import SwinUMamba, VMUNet
from medmamba_monai.ops import backends

REFERENCE = "reference scan"


def contenders() -> dict[int, dict[str, Callable[[], nn.Module]]]:
    """For each size of the image a network of ours, named first, and MONAI's peers of like size, all for 3 channels."""
    from monai.networks.nets import SegResNet, SwinUNETR, UNet

    def peers(classes: int, swin: int, width: int, first: int) -> dict[str, Callable[[], nn.Module]]:
        features = tuple(first * 2**level for level in range(5))
        return {
            "MONAI SwinUNETR": lambda: SwinUNETR(
                in_channels=3, out_channels=classes, feature_size=swin, spatial_dims=2
            ),
            "MONAI UNet": lambda: UNet(2, 3, classes, features, (2, 2, 2, 2), num_res_units=2),
            "MONAI SegResNet": lambda: SegResNet(2, width, 3, classes, blocks_down=(1, 2, 2, 4)),
        }

    return {
        256: {"VM-UNet": lambda: VMUNet.from_variant("isic"), **peers(1, 48, 64, 64)},
        320: {"Swin-UMamba": lambda: SwinUMamba(2, 3, 14), **peers(14, 72, 96, 96)},
    }


def main(argv: Sequence[str]) -> int:
    """Print a table a size of the image; exit code 1 when a network's fast scan is wrong."""
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai benchmark unets", description=__doc__)
    parser.add_argument("--sizes", default="256,320", help="sides of the image (default: 256,320)")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many rounds is shown (default: 3)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--json", help="also write the numbers to this file")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    known, rows = contenders(), []
    for size in map(int, options.sizes.split(",")):
        if size not in known:
            raise ValueError(f"size {size} has no networks: use some of {','.join(map(str, known))}")
        rows += measure(size, known[size], options.repeats)
    facts = machine(torch.device("cpu"))
    print("  ".join(f"{key}: {value}" for key, value in facts.items()))
    print(table(rows))
    if options.json:
        result = {"command": ["benchmark", "unets", *argv], "machine": facts, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 1 if any(row.refused for row in rows) else 0


def measure(size: int, networks: dict[str, Callable[[], nn.Module]], repeats: int) -> list[Row]:
    """Forward and training step of each network on one image, and the forward of ours with the scan step by step."""
    torch.manual_seed(0)
    x, rows = torch.randn(1, 3, size, size), []
    built = {name: build().eval() for name, build in networks.items()}
    for name, net in built.items():
        refused = check_network(net, x) if name == next(iter(built)) else None
        rows.append(Row(f"{size} x {size}", name, parameters=sum(p.numel() for p in net.parameters()), refused=refused))
    first, ours = rows[0], next(iter(built.values()))
    forward = best([inference(net, x, Mode("")) for net in built.values()], repeats)
    steps = [training_step(net, x, Mode("")) for net in built.values()]
    training = best([step for step in steps if step is not None], repeats)
    for row, step, a, b in zip(rows, steps, forward, training, strict=True):
        row.forward, row.training = a, b
        row.training_memory = None if step is None else extra_memory(step)
    with backends.preferred("reference"):
        slow = inference(ours, x, Mode(""))
        rows.append(Row(first.case, f"{first.name}, {REFERENCE}", forward=best([slow], 1)[0]))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown, with the ratio of each forward to that of the case's first row."""
    lines = [
        "| image | network | M parameters | forward ms | training step ms | training step MB | forward / ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.refused:
            lines.append(f"| {row.case} | {row.name} | {row.refused} | | | | |")
            continue
        ours = next(other for other in rows if other.case == row.case).forward
        ratio = row.forward / ours if row.forward and ours else None
        cells = (row.parameters and row.parameters / 1e6, row.forward, row.training, row.training_memory, ratio)
        kinds = (".1f", ".0f", ".0f", ".0f", ".2f")
        texts = ["" if cell is None else format(cell, kind) for cell, kind in zip(cells, kinds, strict=True)]
        lines.append(f"| {row.case} | {row.name} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
