"""Every backend of the scan against the sequential one in float64, and the contract of the public functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from medmamba_monai.ops import (
    bidirectional_selective_scan,
    grid_selective_scan,
    scan_order,
    selective_scan,
)
from tests.ops.cases import BACKENDS, LENGTHS, assert_close, error, gradients, inputs
from tests.oracles.oracle import Oracle

ORACLES = Path(__file__).parents[1] / "oracles" / "ssm_ops.json"
# Rounding of float32, relative to the largest number; gradients sum over many steps.
OUTPUT, GRADIENT = 2e-6, 1e-5


def compare(backend: str, arguments: dict[str, Tensor | None], **options: object) -> None:
    def scan(name: str):  # type: ignore[no-untyped-def]
        return lambda **tensors: selective_scan(**tensors, return_last_state=True, backend=name, **options)

    wanted = gradients(scan("reference"), arguments, torch.float64)
    assert_close(gradients(scan(backend), arguments, torch.float32), wanted, OUTPUT, GRADIENT)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_lengths(backend: str, length: int) -> None:
    compare(backend, inputs(length), delta_softplus=True)


@pytest.mark.parametrize("absent", ["D", "z", "delta_bias"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_optional_inputs(backend: str, absent: str) -> None:
    compare(backend, inputs(33) | {absent: None}, delta_softplus=True)


@pytest.mark.parametrize("groups, channels, states", [(1, 1, 1), (2, 6, 16), (3, 48, 4), (4, 4, 3), (1, 40, 17)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_and_sizes(backend: str, groups: int, channels: int, states: int) -> None:
    compare(backend, inputs(70, channels=channels, states=states, groups=groups), delta_softplus=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_softplus(backend: str) -> None:
    arguments = inputs(65, bias=False)
    assert arguments["delta"] is not None
    arguments["delta"] = arguments["delta"].abs() * 0.2
    compare(backend, arguments)


@pytest.mark.parametrize("backend", BACKENDS)
def test_non_contiguous_inputs(backend: str) -> None:
    arguments = inputs(50, groups=2, skip=False, bias=False)
    turned = {name: x if x is None or x.dim() < 3 else x.movedim(-1, 0).contiguous().movedim(0, -1)
              for name, x in arguments.items()}  # fmt: skip
    assert turned["u"] is not None and not turned["u"].is_contiguous()
    wide = torch.randn(2, 2, 5, 101)[..., ::2][..., :50]
    turned["B"] = arguments["B"] = wide
    compare(backend, turned, delta_softplus=True)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
@pytest.mark.parametrize("case", ["scan_full", "scan_nozD", "scan_group", "scan_constBC"])
def test_oracles(backend: str, case: str) -> None:
    if backend == "native" and case == "scan_constBC":
        pytest.skip("the compiled scan takes no constant maps; that it says so is tested below")
    oracle = Oracle(ORACLES, case)
    tensors = oracle.inputs(requires_grad=True)
    outputs = selective_scan(**tensors, **oracle.info["kwargs"], backend=backend)
    oracle.loss(outputs).backward()
    report = oracle.check(outputs, {name: x.grad for name, x in tensors.items() if x.grad is not None}, 2e-5, 2e-4)
    assert report, str(report)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slow_decay_and_huge_numbers(backend: str) -> None:
    arguments = inputs(300, rate=1e-4)
    compare(backend, arguments, delta_softplus=True)
    compare(backend, inputs(300, rate=1e4), delta_softplus=True)
    large = inputs(40, gate=False)
    large["u"] = 1e30 * torch.randn(2, 12, 40)
    large["delta"] = torch.randn(2, 12, 40) * 40
    y = selective_scan(**large, delta_softplus=True, backend=backend)
    doubled = {name: None if x is None else x.double() for name, x in large.items()}
    wanted = selective_scan(**doubled, delta_softplus=True, backend="reference")
    assert isinstance(y, Tensor) and isinstance(wanted, Tensor)
    assert error(y, wanted) < OUTPUT


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_and_infinity_come_through(backend: str) -> None:
    for name in ("u", "delta", "A"):
        arguments = inputs(20, batch=1, channels=3)
        value = arguments[name]
        assert value is not None
        value.view(-1)[0] = torch.nan
        y = selective_scan(**arguments, delta_softplus=True, backend=backend)
        assert isinstance(y, Tensor)
        assert torch.isnan(y[0, 0]).any(), f"a NaN in {name} was lost"
        assert torch.isfinite(y[0, 1:]).all(), f"a NaN in {name} spread to other channels"
    if backend == "native":
        ones = torch.ones(1, 1, 4)
        grow = selective_scan(ones, ones, torch.full((1, 1), 50.0), ones, ones, backend=backend)
        assert isinstance(grow, Tensor) and torch.isinf(grow).tolist() == [[[False, False, True, True]]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_long_sequences(backend: str) -> None:
    arguments = inputs(131072, batch=1, channels=2, states=2, gate=False)

    def scan(name: str):  # type: ignore[no-untyped-def]
        return lambda **tensors: selective_scan(**tensors, delta_softplus=True, backend=name)

    wanted = gradients(scan("chunked"), arguments, torch.float64)
    assert_close(gradients(scan(backend), arguments, torch.float32), wanted, output=5e-7, gradient=3e-6)


@pytest.mark.parametrize("directions, paths", [(1, 1), (2, 1), (2, 2), (2, 3)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_bidirectional(backend: str, directions: int, paths: int) -> None:
    grid, batch, channels, states, length = (directions, paths), 2, 10, 3, 77
    arguments: dict[str, Tensor | None] = {
        "u": torch.randn(batch, paths, channels, length),
        "delta": torch.randn(batch, *grid, channels, length),
        "A": -torch.rand(*grid, channels, states),
        "B": torch.randn(batch, *grid, states, length),
        "C": torch.randn(batch, *grid, states, length),
        "D": torch.randn(*grid, channels),
        "delta_bias": torch.randn(*grid, channels),
    }

    def one_by_one(**x: Tensor) -> Tensor:
        sums = []
        for p in range(paths):
            total = torch.zeros((), dtype=torch.float64)
            for r in range(directions):
                turn = (lambda t: t.flip(-1)) if r else (lambda t: t)
                y = selective_scan(
                    turn(x["u"][:, p]), turn(x["delta"][:, r, p]), x["A"][r, p], turn(x["B"][:, r, p]),
                    turn(x["C"][:, r, p]), x["D"][r, p], None, x["delta_bias"][r, p], True, backend="reference",
                )  # fmt: skip
                assert isinstance(y, Tensor)
                total = total + turn(y)
            sums.append(total)
        return torch.stack(sums, 1)

    def fused(**x: Tensor) -> Tensor:
        return bidirectional_selective_scan(**x, delta_softplus=True, backend=backend)

    wanted = gradients(one_by_one, arguments, torch.float64)
    assert_close(gradients(fused, arguments, torch.float32), wanted, OUTPUT, GRADIENT)


@pytest.mark.parametrize("name, size", [("raster", (5, 4)), ("bidirectional", (9, 8)), ("cross", (7, 11)),
                                        ("cross", (3, 4, 6))])  # fmt: skip
@pytest.mark.parametrize("rank, channels, states", [(1, 12, 4), (9, 20, 16)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_grid(backend: str, name: str, size: tuple[int, ...], rank: int, channels: int, states: int) -> None:
    order = scan_order(name, len(size))
    length = torch.Size(size).numel()
    grid = (order.directions, order.num_paths)
    index = order.paths(torch.arange(length, dtype=torch.int32).reshape(1, 1, *size))[0, :, 0]
    arguments: dict[str, Tensor | None] = {
        "u": torch.randn(2, length, channels),
        "projected": torch.randn(2, length, *grid, rank + 2 * states),
        "dt_weight": torch.randn(*grid, channels, rank) / rank,
        "A": -torch.rand(*grid, channels, states),
        "D": torch.randn(*grid, channels),
        "dt_bias": torch.randn(*grid, channels),
    }

    def grids(**x: Tensor) -> Tensor:
        u = order.paths(x["u"].transpose(1, 2).unflatten(2, size))
        rows = [order.paths(x["projected"][:, :, r, p].transpose(1, 2).unflatten(2, size))[:, p]
                for r in range(grid[0]) for p in range(grid[1])]  # fmt: skip
        dt, B, C = torch.stack(rows, 1).unflatten(1, grid).split((rank, states, states), 3)
        y = bidirectional_selective_scan(u, x["dt_weight"] @ dt, x["A"], B, C, x["D"], x["dt_bias"], True,
                                         backend="reference")  # fmt: skip
        return torch.stack(order.restore_paths(y, size)).sum(0).flatten(2).transpose(1, 2)

    def fused(**x: Tensor) -> Tensor:
        return grid_selective_scan(**x, index=index, backend=backend)

    wanted = gradients(grids, arguments, torch.float64)
    assert_close(gradients(fused, arguments, torch.float32), wanted, OUTPUT, GRADIENT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_half_precision(backend: str, dtype: torch.dtype) -> None:
    arguments = {name: None if x is None else x.to(dtype) for name, x in inputs(40).items()}
    found = selective_scan(**arguments, delta_softplus=True, return_last_state=True, backend=backend)
    assert found[0].dtype == dtype and found[1].dtype == torch.float32
    exact = {name: None if x is None else x.double() for name, x in arguments.items()}
    wanted = selective_scan(**exact, delta_softplus=True, return_last_state=True, backend="reference")
    assert error(found[1], wanted[1]) < OUTPUT
    assert error(found[0], wanted[0]) < torch.finfo(dtype).eps


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_autocast_leaves_the_state_alone(backend: str) -> None:
    arguments = inputs(40)
    plain = selective_scan(**arguments, delta_softplus=True, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = selective_scan(**arguments, delta_softplus=True, backend=backend)
    assert isinstance(mixed, Tensor) and isinstance(plain, Tensor)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"u": torch.zeros(0, 12, 9)}, "must be at least 1"),
        ({"u": torch.zeros(12, 9)}, "the scan takes (batch, channels, length)"),
        ({"delta": torch.zeros(2, 12, 8)}, "delta has shape (2, 12, 8): it must be (2, 12, 9)"),
        ({"A": torch.zeros(11, 5)}, "with 12 channels"),
        ({"B": torch.zeros(2, 5, 5, 9)}, "B has 5 groups"),
        ({"C": torch.zeros(2, 4, 9)}, "C has shape (2, 4, 9)"),
        ({"D": torch.zeros(3)}, "D has shape (3,)"),
        ({"z": torch.zeros(2, 12, 1)}, "z has shape"),
        ({"u": torch.zeros(2, 12, 9, dtype=torch.int64)}, "real floating-point"),
        ({"A": torch.zeros(12, 5, device="meta")}, "move all arguments to one device"),
    ],
)
def test_wrong_inputs(change: dict[str, Tensor], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        selective_scan(**(inputs(9) | change))
    assert words in str(caught.value)


def test_wrong_bidirectional_inputs() -> None:
    ones = torch.ones(1, 2, 1, 1, 3)
    with pytest.raises(ValueError, match="3 directions"):
        bidirectional_selective_scan(ones[:, 0], torch.ones(1, 3, 1, 1, 3), torch.zeros(3, 1, 1, 1), ones, ones)
    with pytest.raises(ValueError, match="at least 1"):
        bidirectional_selective_scan(ones[:0, 0], ones[:0], torch.zeros(2, 1, 1, 1), ones[:0], ones[:0])
