"""The compiled scan as torch operators, with gradients: P paths, each run in R directions that are summed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medmamba_monai.ops.backends.native import library

# Tasks the backward is cut into whatever the number of threads, so that sums are always taken in the same order.
_BACKWARD_TASKS = 16


@torch.library.custom_op("medmamba_monai::path_scan", mutates_args=(), device_types="cpu")
def path_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the last states and, when save, the states a backward needs."""
    y, last, starts = _outputs(u, delta, A, save)
    sizes, tensors = _job(u, delta, A, B, C, D, z, bias, softplus)
    sizes["splits"] = forward_splits(sizes, sizes["batch"] * sizes["paths"])
    tensors.update(y=y, last=last, starts=starts if save else None)
    library.call(False, sizes, tensors)
    return y, last, starts


@path_scan.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(u, delta, A, save)


@torch.library.custom_op("medmamba_monai::path_scan_backward", mutates_args=(), device_types="cpu")
def path_scan_backward(
    dy: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    starts: Tensor,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of u, delta, A, B, C, D, z and bias; those of absent inputs are empty."""
    sizes, tensors = _job(u, delta, A, B, C, D, z, bias, softplus)
    batch, directions, paths, channels, length = delta.shape
    splits = backward_splits(sizes)
    du, ddelta, dz = (like(x) for x in (u, delta, z))
    per_item = (batch, directions, paths, channels)
    dA = u.new_empty((*per_item, A.shape[-1]))
    dD, dbias = (u.new_empty(0 if x is None else per_item) for x in (D, bias))
    dB, dC = (u.new_empty((splits, *B.shape)) for _ in range(2))
    dlast = None if dlast is None else dlast.contiguous()
    dy = dy.contiguous()
    sizes.update(
        splits=splits,
        **strides("du", du, "batch path lane time"),
        **strides("dB", dB, "split batch direction path lane time"),
    )
    tensors.update(
        dy=dy,
        dlast=dlast,
        starts=starts,
        du=du,
        ddelta=ddelta,
        dA=dA,
        dB=dB,
        dC=dC,
        dD=None if D is None else dD,
        dbias=None if bias is None else dbias,
        dz=None if z is None else dz,
    )
    library.call(True, sizes, tensors)
    dD, dbias = (x if x.dim() == 1 else x.sum(0) for x in (dD, dbias))
    return du, ddelta, dA.sum(0), sum_parts(dB), sum_parts(dC), dD, dz, dbias


@path_scan_backward.register_fake
def _(
    dy: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    starts: Tensor,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    du, ddelta, dA, dB, dC, dD, dz, dbias = (like(x) for x in (u, delta, A, B, C, D, z, bias))
    return du, ddelta, dA, dB, dC, dD, dz, dbias


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, save = inputs
    if not save:
        raise RuntimeError("path_scan was called with save=False but a gradient is wanted: call it with save=True")
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor | None, dlast: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, starts = ctx.saved_tensors
    if dy is None:
        u = tensors[0]
        dy = u.new_zeros(u.shape)
    found = path_scan_backward(dy, dlast, *tensors, starts, ctx.softplus)
    present = (x is not None for x in tensors)
    return (*(g if there else None for g, there in zip(found, present, strict=True)), None, None)


path_scan.register_autograd(_gradients, setup_context=_save_for_backward)
path_scan.register_autocast("cpu", torch.float32)
path_scan_backward.register_autocast("cpu", torch.float32)


def strides(name: str, tensor: Tensor, axes: str) -> dict[str, int]:
    """Name the strides of the leading axes of a tensor as the job does."""
    return {f"{name}_{axis}": stride for axis, stride in zip(axes.split(), tensor.stride(), strict=False)}


def sum_parts(x: Tensor) -> Tensor:
    """Add the parts of a gradient that were summed apart, along the first axis."""
    return x[0] if x.shape[0] == 1 else x.sum(0)


def backward_splits(sizes: dict[str, int]) -> int:
    """Parts of a path's channels, from the shape alone; each costs one more copy of dB and dC, kept below u's size."""
    affordable = max(1, sizes["channels"] // (2 * sizes["states"]))
    return _even(min(-(-_BACKWARD_TASKS // (sizes["batch"] * sizes["paths"])), affordable), sizes["channels"])


def forward_splits(sizes: dict[str, int], items: int) -> int:
    """Parts of a path's channels: about two tasks a thread when `items` run apart anyway."""
    return _even(-(-2 * torch.get_num_threads() // items), sizes["channels"])


def _even(splits: int, channels: int) -> int:
    """At most so many splits, none of them empty."""
    blocks = -(-channels // library.lanes())
    return -(-blocks // -(-blocks // min(splits, blocks)))


def _outputs(u: Tensor, delta: Tensor, A: Tensor, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    batch, directions, paths, channels, length = delta.shape
    last = u.new_empty((batch, directions, paths, channels, A.shape[-1]))
    lanes, tile = library.lanes(), library.tile()
    blocks, tiles = (channels + lanes - 1) // lanes, (length + tile - 1) // tile
    starts = u.new_empty((batch, directions, paths, blocks, tiles, A.shape[-1], lanes) if save else (0,))
    return u.new_empty(u.shape), last, starts


def like(x: Tensor | None) -> Tensor:
    """An empty tensor of the same shape; of no elements for None."""
    return torch.empty(0) if x is None else x.new_empty(x.shape)


def _lines(x: Tensor) -> Tensor:
    """The kernel walks along the last axis in unit steps; other axes may have any stride."""
    return x if x.shape[-1] == 1 or x.stride(-1) == 1 else x.contiguous()


def _job(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
) -> tuple[dict[str, int], dict[str, Tensor | None]]:
    batch, directions, paths, channels, length = delta.shape
    u, delta, B, C = (_lines(x) for x in (u, delta, B, C))
    z = None if z is None else _lines(z)
    A = A.contiguous()
    D, bias = (None if x is None else x.contiguous() for x in (D, bias))
    sizes = dict(
        batch=batch,
        directions=directions,
        paths=paths,
        channels=channels,
        states=A.shape[-1],
        length=length,
        softplus=int(softplus),
    )
    sizes.update(
        strides("u", u, "batch path lane"),
        **strides("delta", delta, "batch direction path lane"),
        **strides("B", B, "batch direction path lane"),
        **strides("C", C, "batch direction path lane"),
    )
    sizes.update(
        u_time=1,
        delta_time=1,
        B_time=1,
        C_time=1,
        y_batch=paths * channels * length,
        y_path=channels * length,
        y_lane=length,
        y_time=1,
    )
    if z is not None:
        sizes.update(strides("z", z, "batch path lane"))
    return sizes, dict(u=u, delta=delta, A=A, B=B, C=C, D=D, z=z, bias=bias)
