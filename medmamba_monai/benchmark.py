"""Time the scan, or whole networks, beside other packages: ``python -m medmamba_monai benchmark scan|network``."""

from __future__ import annotations

import argparse
import ctypes
import functools
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai.network_modes import Call, inference, modes, training_step, tried
from medmamba_monai.networks.nets import MedMamba, UMamba
from medmamba_monai.ops import available_backends, backends, selective_scan

# channels, length, groups; batch 1 and 16 states. a: MedMamba-T's first stage at 224; c: the bottleneck of a 3D U-Net.
SHAPES = {"a": (384, 3136, 4), "b": (768, 4096, 4), "c": (640, 512, 1), "d": (96, 32768, 1), "e": (64, 262144, 1)}
STATES = 16
# A backend further from float64 than this, relative to the largest number, is wrong: it gets no speed.
TOLERANCE = {"output": 2e-6, "gradient": 2e-5, "network": 1e-3}
# Where the kernels of a backend run; the others run everywhere.
DEVICE = {"native": "cpu", "triton": "cuda", "mamba_ssm": "cuda"}


@dataclass
class Row:
    """One line of a table; times in milliseconds, memory in megabytes; None: not measured, with the reason."""

    case: str
    name: str
    forward: float | None = None
    training: float | None = None
    memory: float | None = None
    training_memory: float | None = None
    parameters: int | None = None
    refused: str | None = None


def main(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code: 1 when some backend failed its accuracy check."""
    if argv[:1] in (["cores"], ["unets"]):
        other = importlib.import_module(f"medmamba_monai.benchmark_{argv[0]}")
        code: int = other.main(argv[1:])
        return code
    options = _parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    if options.what == "scan":
        rows, base = scan(options.shapes.split(","), options.repeats, device, options.batch), "chunked"
    else:
        rows, base = network(options.size, options.repeats, device, options.batch), "MedMamba tiny"
    facts = machine(device) | {"batch": options.batch}
    print("  ".join(f"{key}: {value}" for key, value in facts.items()))
    print(table(rows, base))
    if options.json:
        result = {"command": ["benchmark", *argv], "machine": facts, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 1 if any(row.refused and row.refused.startswith("wrong") for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai benchmark", description=__doc__)
    parser.add_argument("what", choices=("scan", "network", "cores", "unets"), help="the last two have options")
    parser.add_argument("--shapes", default="a,c", help=f"of the scan, from {','.join(SHAPES)} (default: a,c)")
    parser.add_argument("--size", type=int, default=224, help="side of the image for networks (default: 224)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or another device of torch (default: cpu)")
    parser.add_argument("--batch", type=int, default=1, help="items at a time (default: 1)")
    parser.add_argument("--repeats", type=int, default=10, help="the best of so many rounds is shown (default: 10)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--json", help="also write the numbers to this file")
    return parser


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on."""
    from medmamba_monai.doctor import cpu

    facts: dict[str, Any] = {"cpu": cpu().get("name", ""), "system": platform.platform(), "torch": torch.__version__}
    facts |= {"python": platform.python_version(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    if available_backends()["native"] is None:
        from medmamba_monai.ops.backends.native.library import instruction_set

        facts["instruction_set"] = instruction_set()
    return facts


def scan(shapes: Sequence[str], repeats: int, device: torch.device, batch: int) -> list[Row]:
    """Time every backend and mambapy on the named shapes."""
    rows = []
    for shape in shapes:
        if shape not in SHAPES:
            raise ValueError(f"shape {shape!r} is unknown: use some of {','.join(SHAPES)}")
        contenders: dict[str, Callable[..., Tensor]] = {
            name: _backend(name)
            for name, reason in available_backends().items()
            if reason is None and DEVICE.get(name, device.type) == device.type
        }
        if importlib.util.find_spec("mambapy"):
            contenders["mambapy"] = _mambapy
        made = [Row(shape, name, refused=check_scan(run, device)) for name, run in contenders.items()]
        arguments = scan_inputs(*SHAPES[shape], device, batch)
        sound = [row for row in made if row.refused is None]
        # The step by step reference needs seconds and holds every state: it is measured once, and not on the longest.
        patient = [row for row in sound if row.name not in ("reference", "mambapy") or SHAPES[shape][1] <= 4096]
        for row in sound:
            if row not in patient:
                row.refused = "skipped: too long for it"
        forward = [_without_gradient(contenders[row.name], arguments) for row in patient]
        training = [_with_gradient(contenders[row.name], arguments) for row in patient]
        for row, first, both in zip(patient, best(forward, repeats), best(training, repeats), strict=True):
            row.forward, row.training = first, both
        for row, call, step in zip(patient, forward, training, strict=True):
            row.memory, row.training_memory = extra_memory(call, device), extra_memory(step, device)
        rows += made
    return rows


def scan_inputs(channels: int, length: int, groups: int, device: torch.device, batch: int = 1) -> dict[str, Tensor]:
    """Inputs like those inside a freshly made network."""
    rates = torch.arange(1.0, STATES + 1)
    inputs = {
        "u": torch.randn(batch, channels, length),
        "delta": torch.randn(batch, channels, length) * 0.5 - 2,
        "A": -rates.repeat(channels, 1),
        "B": torch.randn(batch, groups, STATES, length),
        "C": torch.randn(batch, groups, STATES, length),
        "D": torch.ones(channels),
    }
    return {name: x.to(device) for name, x in inputs.items()}


def check_scan(run: Callable[..., Tensor], device: torch.device) -> str | None:
    """None when outputs and gradients agree with float64, else what is wrong."""
    arguments = scan_inputs(16, 301, 2, torch.device("cpu"))
    exact = _results(_backend("reference"), {name: x.double() for name, x in arguments.items()})
    results = _results(run, {name: x.to(device) for name, x in arguments.items()})
    for i, (found, wanted) in enumerate(zip(results, exact, strict=True)):
        error = float((found.cpu().double() - wanted).abs().max() / wanted.abs().max())
        if not error <= TOLERANCE["gradient" if i else "output"]:
            return f"wrong: error {error:.1e}"
    return None


def network(size: int, repeats: int, device: torch.device, batch: int) -> list[Row]:
    """Time MedMamba and U-Mamba beside networks of about equal size, on images of size x size."""
    if size < 128 or size % 32:
        raise ValueError(f"size {size} does not fit all networks: use a multiple of 32 from 128 on")
    image, grey = (torch.randn(batch, channels, size, size, device=device) for channels in (3, 1))
    case = f"{size} x {size}"
    rows: list[Row] = []
    forward: list[tuple[Row, Call]] = []
    training: list[tuple[Row, Call]] = []
    for name, (build, x) in _networks(image, grey).items():
        net = build().eval().to(device)
        parameters, refused = sum(p.numel() for p in net.parameters()), check_network(net, x)
        for mode in modes(device):
            row = Row(case, name + mode.name, parameters=parameters, refused=refused)
            rows.append(row)
            for calls, make in ((forward, inference), (training, training_step)):
                if row.refused is None:
                    call, row.refused = tried(functools.partial(make, net, x, mode))
                    calls += [] if call is None else [(row, call)]
    for (row, call), time_ in zip(forward, best([call for _, call in forward], repeats), strict=True):
        row.forward = time_
        row.memory = None if device.type == "cpu" else extra_memory(call, device)
    for (row, call), time_ in zip(training, best([call for _, call in training], max(1, repeats // 3)), strict=True):
        row.training = time_
        row.training_memory = None if device.type == "cpu" else extra_memory(call, device)
    return rows


def check_network(net: nn.Module, x: Tensor) -> str | None:
    """None when the network gives with its fast scan what it gives with the plain one."""
    with torch.no_grad():
        found = net(x)
        with backends.preferred("chunked"):
            wanted = net(x)
    found, wanted = (y[0] if isinstance(y, (list, tuple)) else y for y in (found, wanted))
    error = float((found - wanted).abs().max() / wanted.abs().max())
    return None if error <= TOLERANCE["network"] else f"wrong: error {error:.1e}"


def _networks(image: Tensor, grey: Tensor) -> dict[str, tuple[Callable[[], nn.Module], Tensor]]:
    from monai.networks.nets import DenseNet121, SegResNet, UNet, resnet50

    features = (32, 64, 128, 256, 512)
    found: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
        "MedMamba tiny": (lambda: MedMamba.from_variant("tiny"), image),
        "MONAI DenseNet121": (lambda: DenseNet121(2, 3, 1000), image),
        "MONAI ResNet50": (lambda: resnet50(spatial_dims=2, n_input_channels=3, num_classes=1000), image),
    }
    if importlib.util.find_spec("timm") and importlib.util.find_spec("torchvision"):
        import timm

        for name in ("resnet50", "convnext_tiny", "swin_tiny_patch4_window7_224"):
            if image.shape[-1] == 224 or "swin" not in name:
                found[f"timm {name}"] = (functools.partial(timm.create_model, name), image)
    found["UMamba bottleneck 2D"] = (lambda: UMamba.from_variant("bottleneck_2d_abdomen"), grey)
    found["MONAI SegResNet"] = (lambda: SegResNet(2, 64, 1, 14, blocks_down=(1, 2, 2, 4)), grey)
    found["MONAI UNet"] = (lambda: UNet(2, 1, 14, features, (2, 2, 2, 2), num_res_units=2), grey)
    return found


def best(calls: Sequence[Call], repeats: int) -> list[float]:
    """Best time of each call in milliseconds, taken in turns so that all meet the same machine."""
    times = [float("inf")] * len(calls)
    for turn in range(repeats + 1):
        for i, call in enumerate(calls):
            # One round warms up; what needs seconds is not repeated.
            if turn > 1 and times[i] > 3000:
                continue
            start = time.perf_counter()
            call()
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            if turn:
                times[i] = min(times[i], 1000 * (time.perf_counter() - start))
    return times


def extra_memory(call: Call, device: torch.device | None = None) -> float | None:
    """Growth of the memory in use at its peak during the call, in megabytes; None where the system does not tell."""
    kind = "cpu" if device is None else device.type
    if kind == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if kind != "cpu":
        return None
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        # Memory that earlier calls left in the heap would hide what this one takes.
        ctypes.CDLL(None).malloc_trim(0)
        reset.write_text("5")
        resident = _status(status, "VmRSS")
        call()
        return max(0.0, (_status(status, "VmHWM") - resident) / 1024)
    except (OSError, KeyError, AttributeError):
        return None


def _status(path: Path, key: str) -> int:
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines[key].split()[0])


def table(rows: Sequence[Row], base: str) -> str:
    """Rows as text, each with its ratios to the row named `base` of the same case and to the reference backend."""
    width = max([32, *(len(row.name) + 2 for row in rows)])
    lines = [f"{'case':<12}{'name':<{width}}{'forward ms':>12}{'training ms':>13}{'extra MB':>10}{'training MB':>13}"
             f"{'M params':>10}{'  forward x ' + base:>26}{'  training x':>13}{'  x reference':>13}"]  # fmt: skip
    for row in rows:
        if row.refused:
            lines.append(f"{row.case:<12}{row.name:<{width}}  {row.refused}")
            continue
        line = f"{row.case:<12}{row.name:<{width}}{_number(row.forward):>12}{_number(row.training):>13}"
        line += f"{_number(row.memory):>10}{_number(row.training_memory):>13}"
        line += f"{_number(row.parameters and row.parameters / 1e6):>10}"
        for name, part, width in ((base, "forward", 26), (base, "training", 13), ("reference", "forward", 13)):
            other = next((r for r in rows if r.case == row.case and r.name == name and not r.refused), None)
            ours, theirs = getattr(row, part), getattr(other, part, None)
            line += f"{_number(theirs / ours if ours and theirs else None):>{width}}"
        lines.append(line)
    return "\n".join(lines)


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}"


def _backend(name: str) -> Callable[..., Tensor]:
    def run(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
        y = selective_scan(u, delta, A, B, C, D, delta_softplus=True, backend=name)
        assert isinstance(y, Tensor)
        return y

    return run


def _mambapy(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The same scan by mambapy's parallel scan, which holds the states of all steps."""
    from mambapy.pscan import pscan

    dt = nn.functional.softplus(delta).transpose(1, 2).unsqueeze(-1)
    repeats = u.shape[1] // B.shape[1]
    b, c = (x.repeat_interleave(repeats, 1).permute(0, 3, 1, 2) for x in (B, C))
    x = u.transpose(1, 2)
    states: Tensor = pscan(torch.exp(dt * A), dt * b * x.unsqueeze(-1))
    return ((states * c).sum(-1) + D * x).transpose(1, 2)


def _leaves(arguments: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.detach().requires_grad_(True) for name, x in arguments.items()}


def _results(run: Callable[..., Tensor], arguments: dict[str, Tensor]) -> list[Tensor]:
    leaves = _leaves(arguments)
    y = run(**leaves)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), list(leaves.values()))]


def _without_gradient(run: Callable[..., Tensor], arguments: dict[str, Tensor]) -> Call:
    return lambda: torch.no_grad()(run)(**arguments)


def _with_gradient(run: Callable[..., Tensor], arguments: dict[str, Tensor]) -> Call:
    leaves = _leaves(arguments)
    return lambda: torch.autograd.grad(run(**leaves), list(leaves.values()), arguments["u"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
