"""The scan by every backend, and by mambapy, on the shapes of real networks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medmamba_monai.benchmark.measure import Call, Row, best, extra_memory
from medmamba_monai.ops import available_backends, selective_scan

# channels, length, groups; batch 1 and 16 states. a: MedMamba-T's first stage at 224; c: the bottleneck of a 3D U-Net.
SHAPES = {"a": (384, 3136, 4), "b": (768, 4096, 4), "c": (640, 512, 1), "d": (96, 32768, 1), "e": (64, 262144, 1)}
STATES = 16
# A backend further from float64 than this, relative to the largest number, is wrong: it gets no speed.
TOLERANCE = {"output": 2e-6, "gradient": 2e-5}
# Where the kernels of a backend run; the others run everywhere.
DEVICE = {"native": "cpu", "triton": "cuda", "mamba_ssm": "cuda"}


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
