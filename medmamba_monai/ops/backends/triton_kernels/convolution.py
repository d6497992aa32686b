"""The depthwise causal convolution with its bias and activation in one kernel, and its gradients in another."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from medmamba_monai.ops.backends.triton_kernels.tuning import INTERPRETED, tuned

_TILE = 16 if INTERPRETED else 64
_LANES = 4 if INTERPRETED else 16
_SHAPE_CLASS = ("TAPS", "SILU")


@triton.jit
def _filtered(x, x_strides, weight, offset, d, t, channels, length, TAPS: tl.constexpr):
    """The convolution before the activation, as a (channels, steps) tile."""
    total = tl.zeros((d.shape[0], t.shape[0]), tl.float32) + offset[:, None]
    for k in tl.static_range(TAPS):
        tap = tl.load(weight + d * TAPS + k, mask=d < channels, other=0.0).to(tl.float32)
        total += tap[:, None] * _shifted(x, x_strides, d, t - (TAPS - 1 - k), channels, length)
    return total


@triton.jit
def _shifted(x, strides, d, t, channels, length):
    mask = (d < channels)[:, None] & ((t >= 0) & (t < length))[None, :]
    return tl.load(x + d[:, None] * strides[1] + t[None, :] * strides[2], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _offset(bias, d, channels):
    if bias is None:
        return tl.zeros(d.shape, tl.float32)
    else:
        return tl.load(bias + d, mask=d < channels, other=0.0).to(tl.float32)


@triton.jit
def convolve(
    x, x_strides, weight, bias, y, y_strides, channels, length,
    TAPS: tl.constexpr, SILU: tl.constexpr, LANES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """One tile of the output."""
    t = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    d = tl.program_id(1).to(tl.int64) * LANES + tl.arange(0, LANES)
    batch = tl.program_id(2).to(tl.int64)
    total = _filtered(
        x + batch * x_strides[0], x_strides, weight, _offset(bias, d, channels), d, t, channels, length, TAPS
    )
    if SILU:
        total *= tl.sigmoid(total)
    place = y + batch * y_strides[0] + d[:, None] * y_strides[1] + t[None, :] * y_strides[2]
    tl.store(place, total.to(y.dtype.element_ty), mask=(d < channels)[:, None] & (t < length)[None, :])


@triton.jit
def convolve_backward(
    dy, dy_strides, x, x_strides, weight, bias, dx, dx_strides, dweight, dbias, channels, length,
    TAPS: tl.constexpr, SILU: tl.constexpr, LANES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """One tile of the gradient of x, and what the tile adds to those of the weights and the bias."""
    tile, tiles = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    t = tile * TILE + tl.arange(0, TILE)
    d = tl.program_id(1).to(tl.int64) * LANES + tl.arange(0, LANES)
    batch = tl.program_id(2).to(tl.int64)
    x += batch * x_strides[0]
    dy += batch * dy_strides[0]
    offset = _offset(bias, d, channels)
    real = d < channels
    part = (batch * tiles + tile) * channels + d
    dx_tile = tl.zeros((LANES, TILE), tl.float32)
    for later in tl.static_range(TAPS):
        slope = _shifted(dy, dy_strides, d, t + later, channels, length)
        if SILU:
            # The value before the activation is cheaper to compute anew than to keep.
            value = _filtered(x, x_strides, weight, offset, d, t + later, channels, length, TAPS)
            opened = tl.sigmoid(value)
            slope *= opened * (1 + value * (1 - opened))
        tap = tl.load(weight + d * TAPS + (TAPS - 1 - later), mask=real, other=0.0).to(tl.float32)
        dx_tile += tap[:, None] * slope
        if later == 0:
            for k in tl.static_range(TAPS):
                past = _shifted(x, x_strides, d, t - (TAPS - 1 - k), channels, length)
                tl.store(dweight + part * TAPS + k, tl.sum(slope * past, 1), mask=real)
            if bias is not None:
                tl.store(dbias + part, tl.sum(slope, 1), mask=real)
    place = dx + batch * dx_strides[0] + d[:, None] * dx_strides[1] + t[None, :] * dx_strides[2]
    tl.store(place, dx_tile.to(dx.dtype.element_ty), mask=real[:, None] & (t < length)[None, :])


_convolve = tuned(convolve, _SHAPE_CLASS)
_convolve_backward = tuned(convolve_backward, _SHAPE_CLASS)


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    """Return the convolution in x's dtype, channel by channel in order, as the scan reads it."""
    batch, channels, length = x.shape
    y = x.new_empty(x.shape)
    weight, bias = weight.contiguous(), None if bias is None else bias.contiguous()
    _convolve[triton.cdiv(length, _TILE), triton.cdiv(channels, _LANES), batch](
        x, x.stride(), weight, bias, y, y.stride(), channels, length,
        TAPS=weight.shape[1], SILU=silu, LANES=_LANES, TILE=_TILE, enable_fp_fusion=True,
    )  # fmt: skip
    return y


def backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of x, weight and bias."""
    batch, channels, length = x.shape
    tiles, taps = triton.cdiv(length, _TILE), weight.shape[1]
    dx = torch.empty_like(x)
    dweight = torch.empty((batch, tiles, channels, taps), dtype=torch.float32, device=x.device)
    dbias = None if bias is None else dweight.new_empty((batch, tiles, channels))
    _convolve_backward[tiles, triton.cdiv(channels, _LANES), batch](
        dy, dy.stride(), x, x.stride(), weight.contiguous(), None if bias is None else bias.contiguous(),
        dx, dx.stride(), dweight, dbias, channels, length,
        TAPS=taps, SILU=silu, LANES=_LANES, TILE=_TILE, enable_fp_fusion=True,
    )  # fmt: skip
    if bias is not None and dbias is not None:
        dbias = dbias.sum((0, 1)).to(bias.dtype)
    return dx, dweight.sum((0, 1)).to(weight.dtype), dbias
