"""Inputs of the scan for the tests, and how results are compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medmamba_monai.ops import available_backends

BACKENDS = [name for name in ("chunked", "native") if available_backends()[name] is None]
LENGTHS = [1, 2, 7, 63, 64, 65, 1000]

Scan = Callable[..., tuple[Tensor, Tensor]]


def inputs(
    length: int, batch: int = 2, channels: int = 12, states: int = 5, groups: int = 1, skip: bool = True,
    gate: bool = True, bias: bool = True, rate: float = 1.0,
) -> dict[str, Tensor | None]:  # fmt: skip
    """Arguments of selective_scan by name, in float32, absent ones None."""
    return {
        "u": torch.randn(batch, channels, length),
        "delta": torch.randn(batch, channels, length) - 1,
        "A": -rate * (torch.rand(channels, states) + 0.1),
        "B": torch.randn(batch, groups, states, length),
        "C": torch.randn(batch, groups, states, length),
        "D": torch.randn(channels) if skip else None,
        "z": torch.randn(batch, channels, length) if gate else None,
        "delta_bias": torch.randn(channels) if bias else None,
    }


def gradients(
    scan: Callable[..., Tensor | tuple[Tensor, ...]], arguments: dict[str, Tensor | None], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Outputs of a scan and the gradients of a fixed weighting of them, by name."""
    leaves = {name: None if x is None else x.detach().to(dtype).requires_grad_(True) for name, x in arguments.items()}
    found = scan(**leaves)
    outputs = found if isinstance(found, tuple) else (found,)
    loss = torch.zeros((), dtype=torch.float64)
    for i, output in enumerate(outputs):
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        loss = loss + (weights * output.double()).sum()
    loss.backward()
    result = {f"output {i}": output.detach() for i, output in enumerate(outputs)}
    for name, leaf in leaves.items():
        if leaf is not None:
            assert leaf.grad is not None, f"{name} got no gradient"
            result[f"gradient of {name}"] = leaf.grad
    return result


def error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference relative to the largest wanted number."""
    return float((found.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp(min=1e-30))


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], output: float, gradient: float) -> None:
    """Compare two results of `gradients`."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        allowed = gradient if name.startswith("gradient") else output
        assert error(found[name], value) <= allowed, f"{name}: {error(found[name], value):.2e} > {allowed:.0e}"
