"""Time and memory of every state-space core over the length: ``python -m medmamba_monai benchmark cores``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from medmamba_monai.benchmark.measure import extra_memory
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.mamba2 import Mamba2
from medmamba_monai.networks.layers.mamba3 import Mamba3
from medmamba_monai.networks.layers.s4 import S4
from medmamba_monai.networks.layers.s4d import S4D
from medmamba_monai.networks.layers.s5 import S5

LENGTHS = (4096, 16384, 65536, 262144)
CORES: dict[str, Callable[[int], nn.Module]] = {
    "S4": S4,
    "S4D": S4D,
    "S5": S5,
    "S6 (Mamba)": Mamba,
    "S6, exact hold": lambda width: Mamba(width, input_rule="zoh"),
    "Mamba-2": lambda width: Mamba2(width, d_state=64),
    "Mamba-3": lambda width: Mamba3(width, d_state=64),
    "Mamba-3, MIMO": lambda width: Mamba3(width, d_state=64, is_mimo=True),
}


def main(argv: Sequence[str]) -> int:
    """Print a table: a row a core and length, CPU seconds and megabytes of one forward."""
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai benchmark cores", description=__doc__)
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)), help="lengths of the sequence")
    parser.add_argument("--width", type=int, default=32, help="channels of a token (default: 32)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    lengths = [int(length) for length in options.lengths.split(",")]
    print("| core |" + "".join(f" {length} |" for length in lengths))
    print("|---|" + "---|" * len(lengths))
    for name, make in CORES.items():
        torch.manual_seed(0)
        core = make(options.width).eval()
        cells = [measure(core, options.width, length) for length in lengths]
        print(f"| {name} |" + "".join(f" {cell} |" for cell in cells), flush=True)
    return 0


def measure(core: nn.Module, width: int, length: int) -> str:
    """CPU seconds of one forward, and the growth of the memory in use at its peak, as text."""
    x = torch.randn(1, length, width)
    seconds = [float("inf")]

    @torch.no_grad()
    def call() -> None:
        start = time.process_time()
        core(x)
        seconds.append(time.process_time() - start)

    if length == min(LENGTHS):
        call()
    memory = extra_memory(call)
    return f"{min(seconds):.2f} s, {'?' if memory is None else f'{memory:.0f}'} MB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
