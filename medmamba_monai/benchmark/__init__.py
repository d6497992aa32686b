"""Time scans, cores and networks beside other packages: ``python -m medmamba_monai benchmark scan|network|cores``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from medmamba_monai.benchmark import cores, networks, scan
from medmamba_monai.benchmark.measure import machine, table
from medmamba_monai.benchmark.suites import SUITES


def main(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code: 1 when some backend failed its accuracy check."""
    if argv[:1] == ["cores"]:
        return cores.main(argv[1:])
    options = _parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    if options.what == "scan":
        rows, base = scan.scan(options.shapes.split(","), options.repeats, device, options.batch), "chunked"
    else:
        suite = SUITES[options.suite]
        size = options.size or suite.size
        rows = networks.network(suite, size, options.repeats, device, options.batch, options.reference)
        base = next(iter(suite.ours))
    facts = machine(device) | {"batch": options.batch}
    print("  ".join(f"{key}: {value}" for key, value in facts.items()))
    print(table(rows, base))
    if options.json:
        result = {"command": ["benchmark", *argv], "machine": facts, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 1 if any(row.refused and row.refused.startswith("wrong") for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai benchmark", description=__doc__)
    parser.add_argument("what", choices=("scan", "network", "cores"), help="cores has options of its own")
    parser.add_argument("--shapes", default="a,c", help=f"of the scan, from {','.join(scan.SHAPES)} (default: a,c)")
    parser.add_argument("--suite", default="medmamba", choices=SUITES, help="networks (default: medmamba)")
    parser.add_argument("--size", type=int, help="side of the image for networks (default: the suite's)")
    parser.add_argument("--reference", action="store_true", help="time our networks with the step by step scan too")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or another device of torch (default: cpu)")
    parser.add_argument("--batch", type=int, default=1, help="items at a time (default: 1)")
    parser.add_argument("--repeats", type=int, default=10, help="the best of so many rounds is shown (default: 10)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--json", help="also write the numbers to this file")
    return parser
