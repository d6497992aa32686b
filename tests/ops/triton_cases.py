"""Triton's kernels against the float64 reference; `test_triton.py` runs these on a GPU, else in the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medmamba_monai.ops import (
    bidirectional_selective_scan,
    grid_selective_scan,
    scan_order,
    selective_scan,
)
from medmamba_monai.ops.backends.triton import interpreted, triton_scan
from medmamba_monai.ops.backends.triton_convolution import triton_causal_conv1d
from tests.ops.cases import assert_close, error, gradients, inputs

DEVICE = "cpu" if interpreted() else "cuda"
OUTPUT, GRADIENT = 2e-6, 1e-5


@pytest.fixture(scope="module", autouse=True)
def quick_interpreter() -> None:
    """Scan a tile by doubling, as a GPU does: the interpreter joins its numbers one by one, a hundred times slower."""
    if not interpreted():
        return
    from triton.runtime.interpreter import ScanOps

    def generic_scan(self: Any, given: Any) -> list[Any]:
        kinds = [x.dtype for x in given]
        arrays = [np.moveaxis(x.handle.data, self.axis, 0) for x in given]
        shift = 1
        while shift < len(arrays[0]):
            both = [np.roll(x, shift, 0) for x in arrays] + arrays
            found = self.combine_fn.fn(*(self.to_tensor(x, kind) for x, kind in zip(both, kinds * 2, strict=True)))
            arrays = [np.concatenate((x[:shift], f.handle.data[shift:])) for x, f in zip(arrays, found, strict=True)]
            shift *= 2
        back = [np.ascontiguousarray(np.moveaxis(x, 0, self.axis)) for x in arrays]
        return [self.to_tensor(x, kind) for x, kind in zip(back, kinds, strict=True)]

    ScanOps.generic_scan = generic_scan


def scan(backend: str, **options: Any) -> Callable[..., Any]:
    """A scan for `gradients`; Triton's moves its inputs to the GPU and its outputs back."""
    device = DEVICE if backend == "triton" else "cpu"

    def run(**tensors: Tensor | None) -> tuple[Tensor, ...]:
        moved = {name: None if x is None else x.to(device) for name, x in tensors.items()}
        found = selective_scan(**moved, return_last_state=True, backend=backend, **options)
        return tuple(x.cpu() for x in found)

    return run


def compare(arguments: dict[str, Tensor | None], softplus: bool = True) -> None:
    wanted = gradients(scan("reference", delta_softplus=softplus), arguments, torch.float64)
    found = gradients(scan("triton", delta_softplus=softplus), arguments, torch.float32)
    assert_close(found, wanted, OUTPUT, GRADIENT)


@pytest.mark.parametrize("length", [1, 2, 7, 63, 64, 65, 300])
def test_lengths(length: int) -> None:
    compare(inputs(length, batch=1, channels=2, states=3))


@pytest.mark.parametrize("absent", ["D", "z", "delta_bias"])
def test_optional_inputs(absent: str) -> None:
    compare(inputs(19, channels=3, states=2) | {absent: None})


@pytest.mark.parametrize("groups, channels, states", [(1, 1, 1), (2, 4, 4), (3, 3, 17)])
def test_groups_and_sizes(groups: int, channels: int, states: int) -> None:
    compare(inputs(20, channels=channels, states=states, groups=groups))


def test_blocks_of_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels in several programs, the last one with fewer, and in a single one."""
    from medmamba_monai.ops.backends.triton_kernels import launch

    arguments = inputs(3, batch=1, channels=17, states=1)
    compare(arguments)
    monkeypatch.setattr(launch, "_PROGRAMS", 1)
    compare(arguments)


def test_tiles_joined_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from medmamba_monai.ops.backends.triton_kernels import launch

    monkeypatch.setattr(launch, "_JOINED", 2)
    length = 4 * launch.tile_length(3) + 5
    compare(inputs(length, batch=1, channels=1, states=3, rate=0.05))


def test_without_softplus() -> None:
    arguments = inputs(20, channels=3, bias=False)
    assert arguments["delta"] is not None
    arguments["delta"] = arguments["delta"].abs() * 0.2
    compare(arguments, softplus=False)


@pytest.mark.parametrize("rate", [1e-4, 1e4])
def test_slow_and_fast_decay(rate: float) -> None:
    compare(inputs(40, batch=1, channels=2, states=3, rate=rate))


def test_softplus_keeps_small_steps() -> None:
    arguments = inputs(16, batch=1, channels=2, states=2, bias=False, skip=False, gate=False)
    for shift in (-5.0, -30.0, 25.0):
        arguments["delta"] = torch.randn(1, 2, 16) + shift
        compare(arguments)


def test_non_contiguous_inputs() -> None:
    arguments = inputs(9, channels=4, states=3, groups=2, skip=False, bias=False)
    turned = {name: x if x is None or x.dim() < 3 else x.movedim(-1, 0).contiguous().movedim(0, -1)
              for name, x in arguments.items()}  # fmt: skip
    assert turned["u"] is not None and not turned["u"].is_contiguous()
    turned["B"] = torch.randn(2, 2, 3, 19)[..., ::2][..., :9]
    compare(turned)
    expanded = torch.randn(1, 4, 1).expand(2, 4, 9)
    compare(turned | {"u": expanded})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    arguments = {name: None if x is None else x.to(dtype) for name, x in inputs(20, channels=2, states=3).items()}
    wanted = gradients(scan("reference", delta_softplus=True), arguments, torch.float64)
    found = gradients(scan("triton", delta_softplus=True), arguments, dtype)
    assert found["output 0"].dtype == dtype and found["output 1"].dtype == torch.float32
    assert error(found["output 1"], wanted["output 1"]) < OUTPUT
    # two roundings, of the output's gradient and of the result; the interpreter rounds bfloat16 towards zero
    assert_close(found, wanted, torch.finfo(dtype).eps, 2 * torch.finfo(dtype).eps)


def test_autocast_leaves_the_state_alone() -> None:
    arguments = {name: None if x is None else x.to(DEVICE) for name, x in inputs(20, channels=3, states=2).items()}
    plain = selective_scan(**arguments, delta_softplus=True, backend="triton")
    with torch.autocast(DEVICE, torch.bfloat16):
        mixed = selective_scan(**arguments, delta_softplus=True, backend="triton")
    assert isinstance(plain, Tensor) and isinstance(mixed, Tensor)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)


def test_gradient_of_the_last_state_alone() -> None:
    arguments = inputs(37, batch=1, channels=2, states=3, skip=False, gate=False)
    del arguments["C"]
    C = torch.ones(1, 1, 3, 37)

    def last(backend: str) -> Callable[..., Tensor]:
        run = scan(backend, delta_softplus=True)
        return lambda **x: run(**x, C=C.to(x["u"].dtype))[1]  # type: ignore[no-any-return]

    wanted = gradients(last("reference"), arguments, torch.float64)
    assert_close(gradients(last("triton"), arguments, torch.float32), wanted, OUTPUT, GRADIENT)


@pytest.mark.parametrize("directions, paths", [(1, 2), (2, 1), (2, 2)])
def test_bidirectional(directions: int, paths: int) -> None:
    grid, batch, channels, states, length = (directions, paths), 1, 2, 2, 37
    arguments: dict[str, Tensor | None] = {
        "u": torch.randn(batch, paths, channels, length),
        "delta": torch.randn(batch, *grid, channels, length),
        "A": -torch.rand(*grid, channels, states),
        "B": torch.randn(batch, *grid, states, length),
        "C": torch.randn(batch, *grid, states, length),
        "D": torch.randn(*grid, channels),
        "delta_bias": torch.randn(*grid, channels),
    }

    def both(backend: str, device: str) -> Callable[..., Tensor]:
        return lambda **x: bidirectional_selective_scan(
            **{name: t.to(device) for name, t in x.items()}, delta_softplus=True, backend=backend
        ).cpu()

    wanted = gradients(both("reference", "cpu"), arguments, torch.float64)
    assert_close(gradients(both("triton", DEVICE), arguments, torch.float32), wanted, OUTPUT, GRADIENT)


def test_grid() -> None:
    order, size = scan_order("cross", 2), (5, 4)
    grid = (order.directions, order.num_paths)
    index = order.paths(torch.arange(20, dtype=torch.int32).reshape(1, 1, *size))[0, :, 0]
    arguments: dict[str, Tensor | None] = {
        "u": torch.randn(1, 20, 3),
        "projected": torch.randn(1, 20, *grid, 2 + 2 * 2),
        "dt_weight": torch.randn(*grid, 3, 2),
        "A": -torch.rand(*grid, 3, 2),
        "D": torch.randn(*grid, 3),
    }

    def on(backend: str, device: str) -> Callable[..., Tensor]:
        return lambda **x: grid_selective_scan(
            **{name: t.to(device) for name, t in x.items()}, index=index.to(device), backend=backend
        ).cpu()

    wanted = gradients(on("reference", "cpu"), arguments, torch.float64)
    assert_close(gradients(on("triton", DEVICE), arguments, torch.float32), wanted, OUTPUT, GRADIENT)


def test_same_bits_twice() -> None:
    arguments = inputs(40, batch=1, channels=3, states=2)
    first, second = (gradients(scan("triton", delta_softplus=True), arguments, torch.float32) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_nan_stays_in_its_channel() -> None:
    arguments = {name: None if x is None else x.to(DEVICE) for name, x in inputs(20, 1, 2, gate=False).items()}
    for name in ("u", "delta", "A"):
        value = arguments[name]
        assert value is not None
        spoiled = value.clone()
        spoiled.view(-1)[0] = torch.nan
        y = selective_scan(**(arguments | {name: spoiled}), delta_softplus=True, backend="triton")
        assert isinstance(y, Tensor)
        assert torch.isnan(y[0, 0]).all() and torch.isfinite(y[0, 1:]).all(), name


def shaped(gate: bool) -> list[Tensor | None]:
    """The operator's own arguments: two paths of one channel in one direction."""
    from medmamba_monai.ops.backends.paths import as_paths

    given = {name: None if x is None else x.to(DEVICE) for name, x in inputs(5, 1, 2, 2, 2, gate=gate).items()}
    return [None if x is None else x.detach().requires_grad_(True) for x in as_paths(**given)]  # type: ignore[arg-type]


def test_opcheck() -> None:
    torch.library.opcheck(triton_scan, (*shaped(gate=True), True))
    torch.library.opcheck(triton_scan, (*shaped(gate=False), True), test_utils="test_faketensor")
    x = torch.randn(1, 3, 9, device=DEVICE, requires_grad=True)
    weight = torch.randn(3, 2, device=DEVICE, requires_grad=True)
    torch.library.opcheck(triton_causal_conv1d, (x, weight, None, True))


def test_compile_forward_and_backward() -> None:
    arguments, run = inputs(18, 1, 3, 2), scan("triton", delta_softplus=True)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert_close(gradients(compiled, arguments, torch.float32), gradients(run, arguments, torch.float32), 1e-6, 1e-6)


def test_what_it_cannot_compute_is_refused() -> None:
    u, A = torch.ones(1, 1, 3, device=DEVICE), torch.zeros(1, 1, device=DEVICE)
    with pytest.raises(RuntimeError, match="not constant ones"):
        selective_scan(u, u, A, torch.ones(1, 1, device=DEVICE), u, backend="triton")
    with pytest.raises(RuntimeError, match="float64 tensor"):
        selective_scan(*(x.double() for x in (u, u, A, u, u)), backend="triton")
    with pytest.raises(RuntimeError, match="on meta"):
        selective_scan(*(x.to("meta") for x in (u, u, A, u, u)), backend="triton")


@pytest.mark.skipif(DEVICE == "cpu", reason="memory is counted on a GPU only")
def test_no_state_sized_tensor() -> None:
    arguments = {
        name: x.to(DEVICE).requires_grad_() for name, x in inputs(32768, 1, 64, 16, gate=False).items() if x is not None
    }
    size = 64 * 32768 * 4
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = selective_scan(**arguments, delta_softplus=True, backend="triton")
    assert isinstance(y, Tensor)
    y.sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 9 * size
