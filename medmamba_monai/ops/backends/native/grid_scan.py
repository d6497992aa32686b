"""The compiled scan of a whole grid, channels last: every path and direction in one call, steps found by an index.

The grid is never copied into sequences, the small form of delta is widened inside, and all sequences add into one
output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medmamba_monai.ops.backends.native import library
from medmamba_monai.ops.backends.native.path_scan import backward_splits, forward_splits, like, strides, sum_parts


@torch.library.custom_op("medmamba_monai::grid_scan", mutates_args=(), device_types="cpu")
def grid_scan(
    u: Tensor,
    projected: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """Return the output and, when save, the states a backward needs."""
    y, starts = _outputs(u, projected, A, save)
    sizes, tensors = _job(u, projected, dt_weight, A, D, bias, index)
    sizes["splits"] = forward_splits(sizes, sizes["batch"])
    tensors.update(y=y, starts=starts if save else None)
    library.call(False, sizes, tensors)
    return y, starts


@grid_scan.register_fake
def _(
    u: Tensor,
    projected: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
    save: bool,
) -> tuple[Tensor, Tensor]:
    return _outputs(u, projected, A, save)


@torch.library.custom_op("medmamba_monai::grid_scan_backward", mutates_args=(), device_types="cpu")
def grid_scan_backward(
    dy: Tensor,
    u: Tensor,
    projected: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
    starts: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of u, projected, dt_weight, A, D and bias; those of absent inputs are empty."""
    sizes, tensors = _job(u, projected, dt_weight, A, D, bias, index)
    splits = backward_splits(sizes)
    batch, directions, paths, channels, rank = (sizes[k] for k in "batch directions paths channels rank".split())
    per_item = (batch, directions, paths, channels)
    du = u.new_empty((paths, *u.shape))
    dprojected = projected.new_empty((splits, *projected.shape))
    dA, ddt_weight = u.new_empty((*per_item, A.shape[-1])), u.new_empty((*per_item, rank))
    dD, dbias = (u.new_empty((0,) if x is None else per_item) for x in (D, bias))
    sizes.update(
        splits=splits,
        du_path=du.stride(0),
        du_batch=du.stride(1),
        du_time=du.stride(2),
        du_lane=1,
        **strides("dB", dprojected, "split batch time direction path lane"),
    )
    ddelta, dB, dC = dprojected.split_with_sizes((rank, A.shape[-1], A.shape[-1]), -1)
    tensors.update(
        dy=dy.contiguous(),
        starts=starts,
        du=du,
        ddelta=ddelta,
        ddt_weight=ddt_weight,
        dA=dA,
        dB=dB,
        dC=dC,
        dD=None if D is None else dD,
        dbias=None if bias is None else dbias,
    )
    library.call(True, sizes, tensors)
    dD, dbias = (x if x.dim() == 1 else x.sum(0) for x in (dD, dbias))
    return sum_parts(du), sum_parts(dprojected), ddt_weight.sum(0), dA.sum(0), dD, dbias


@grid_scan_backward.register_fake
def _(
    dy: Tensor,
    u: Tensor,
    projected: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
    starts: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    du, dprojected, ddt_weight, dA, dD, dbias = (like(x) for x in (u, projected, dt_weight, A, D, bias))
    return du, dprojected, ddt_weight, dA, dD, dbias


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, save = inputs
    if not save:
        raise RuntimeError("grid_scan was called with save=False but a gradient is wanted: call it with save=True")
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None,) * 8
    *inputs, index, starts = ctx.saved_tensors
    found = grid_scan_backward(dy, *inputs, index, starts)
    return (*(g if x is not None else None for g, x in zip(found, inputs, strict=True)), None, None)


grid_scan.register_autograd(_gradients, setup_context=_save_for_backward)


def _outputs(u: Tensor, projected: Tensor, A: Tensor, save: bool) -> tuple[Tensor, Tensor]:
    batch, length, channels = u.shape
    lanes, tile = library.lanes(), library.tile()
    blocks, tiles = (channels + lanes - 1) // lanes, (length + tile - 1) // tile
    shape = (batch, projected.shape[2], projected.shape[3], blocks, tiles, A.shape[-1], lanes)
    return u.new_empty(u.shape), u.new_empty(shape if save else (0,))


def _job(
    u: Tensor,
    projected: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
) -> tuple[dict[str, int], dict[str, Tensor | None]]:
    batch, length, channels = u.shape
    directions, paths = projected.shape[2:4]
    rank, states = dt_weight.shape[-1], A.shape[-1]
    u, projected, dt_weight, A, index = (x.contiguous() for x in (u, projected, dt_weight, A, index))
    D, bias = (None if x is None else x.contiguous() for x in (D, bias))
    sizes = dict(
        batch=batch,
        directions=directions,
        paths=paths,
        channels=channels,
        states=states,
        length=length,
        rank=rank,
        softplus=1,
        merged=1,
        **strides("u", u, "batch time lane"),
        y_batch=length * channels,
        y_time=channels,
        y_lane=1,
    )
    # The three parts of a row of `projected` differ in where they begin, not in their strides.
    for name in ("delta", "B", "C"):
        sizes.update(strides(name, projected, "batch time direction path lane"))
    delta, B, C = projected.split_with_sizes((rank, states, states), -1)
    return sizes, dict(u=u, delta=delta, B=B, C=C, dt_weight=dt_weight, A=A, D=D, bias=bias, index=index)
