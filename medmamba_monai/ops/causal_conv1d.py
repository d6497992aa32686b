"""Depthwise causal convolution along the length, the short convolution in front of a Mamba scan."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops.backends import triton_convolution

_ACTIVATIONS = (None, "silu", "swish")


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None) -> Tensor:
    """Convolve each channel with its own filter, looking only backwards.

    Mamba (arXiv 2312.00752), the convolution of its block diagram: y_t = bias + sum_k weight_k x_{t - K + 1 + k}.

    Args:
        x: input sequences.
        weight: one filter of K taps a channel; the last tap meets the present step.
        bias: one offset a channel, or None.
        activation: None, "silu" or "swish" (the same function).

    Shape:
        x (B, D, L), weight (D, K), bias (D); returns (B, D, L).

    Raises:
        ValueError: when a shape or the activation's name does not fit.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> causal_conv1d(x, torch.tensor([[10.0, 1.0]]))
        tensor([[[ 1., 12., 23.]]])
    """
    if x.dim() != 3:
        raise ValueError(f"x has shape {tuple(x.shape)}: causal_conv1d takes (batch, channels, length)")
    if weight.dim() != 2 or weight.shape[0] != x.shape[1]:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}: it must be (channels, taps) with {x.shape[1]} channels as in x"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}: it must be ({weight.shape[0]},), one value a channel")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation {activation!r} is unknown: use one of {_ACTIVATIONS}")
    if triton_convolution.serves(x):
        fused: Tensor = triton_convolution.triton_causal_conv1d(x, weight, bias, activation is not None)
        return fused
    channels, taps = weight.shape
    # On a CPU the two-dimensional depthwise convolution is about ten times faster than the one-dimensional one.
    padded = F.pad(x, (taps - 1, 0)).unsqueeze(2)
    y = F.conv2d(padded, weight.reshape(channels, 1, 1, taps), bias, groups=channels).squeeze(2)
    return y if activation is None else F.silu(y)


def causal_conv1d_step(
    x: Tensor, past: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> tuple[Tensor, Tensor]:
    """Convolve one step of a stream and return (output, the inputs the next step looks back on).

    Args:
        x: input of this step.
        past: the inputs of the K - 1 steps before, zeros at the start.
        weight: one filter of K taps a channel; the last tap meets the present step.
        bias: one offset a channel, or None.
        activation: None, "silu" or "swish" (the same function).

    Shape:
        x (B, D), past (B, D, K - 1), weight (D, K), bias (D); returns (B, D) and (B, D, K - 1).

    Raises:
        ValueError: when a shape or the activation's name does not fit.

    Example:
        >>> y, past = causal_conv1d_step(torch.tensor([[3.0]]), torch.tensor([[[2.0]]]), torch.tensor([[10.0, 1.0]]))
        >>> y.item(), past.item()
        (23.0, 3.0)
    """
    window = torch.cat((past.to(x.dtype), x.unsqueeze(-1)), -1)
    if window.shape[-1] != weight.shape[1]:
        raise ValueError(f"past has {past.shape[-1]} steps: a filter of {weight.shape[1]} taps looks back on one fewer")
    y = causal_conv1d(window, weight, bias, activation)[..., -1]
    return y, window[..., 1:]
