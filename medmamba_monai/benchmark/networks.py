"""Forward, training step and memory of whole networks, in turns on one machine."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from medmamba_monai.benchmark.measure import REFERENCE, Call, Row, best, extra_memory
from medmamba_monai.benchmark.modes import Mode, inference, modes, training_step, tried
from medmamba_monai.benchmark.suites import Suite
from medmamba_monai.ops import backends

# A network whose fast scan is further from the plain one than this, relative to the largest number, gets no speed.
TOLERANCE = 1e-3


def network(
    suite: Suite, size: int, repeats: int, device: torch.device, batch: int = 1, reference: bool = False
) -> list[Row]:
    """Time the networks of a suite.

    Args:
        suite: the networks.
        size: side of the image.
        repeats: rounds; the best counts.
        device: where they run.
        batch: images at a time.
        reference: also time our networks once with the scan computed step by step.

    Raises:
        ValueError: when not all networks can take the size.
    """
    least = 128 if suite.spatial_dims == 2 else 64
    if size < least or size % 32:
        raise ValueError(f"size {size} does not fit all networks: use a multiple of 32 from {least} on")
    x = torch.randn(batch, suite.channels, *(size,) * suite.spatial_dims, device=device)
    case = " x ".join([str(size)] * suite.spatial_dims)
    rows: list[Row] = []
    forward: list[tuple[Row, Call]] = []
    training: list[tuple[Row, Call]] = []
    slow: list[Row] = []
    for name, build in suite.networks(size).items():
        net = build().eval().to(device)
        ours = name in suite.ours
        parameters, refused = sum(p.numel() for p in net.parameters()), check_network(net, x) if ours else None
        for mode in modes(device, ours):
            row = Row(case, name + mode.name, parameters=parameters, refused=refused)
            rows.append(row)
            for calls, make in ((forward, inference), (training, training_step)):
                if row.refused is None:
                    call, row.refused = tried(functools.partial(make, net, x, mode))
                    calls += [] if call is None else [(row, call)]
        if ours and reference:
            call = inference(net, x, Mode("", backend="reference"))
            slow.append(Row(case, name + REFERENCE, forward=best([call], 1)[0], parameters=parameters))
    for (row, call), time in zip(forward, best([call for _, call in forward], repeats), strict=True):
        row.forward, row.memory = time, extra_memory(call, device)
    for (row, call), time in zip(training, best([call for _, call in training], max(1, repeats // 3)), strict=True):
        row.training, row.training_memory = time, extra_memory(call, device)
    return rows + slow


def check_network(net: nn.Module, x: Tensor) -> str | None:
    """None when the network gives with its fast scan what it gives with the plain one."""
    with torch.no_grad():
        found = net(x)
        with backends.preferred("chunked"):
            wanted = net(x)
    found, wanted = (y[0] if isinstance(y, (list, tuple)) else y for y in (found, wanted))
    error = float((found - wanted).abs().max() / wanted.abs().max())
    return None if error <= TOLERANCE else f"wrong: error {error:.1e}"
