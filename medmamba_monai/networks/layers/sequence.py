"""What all layers that mix a sequence of tokens share: their contract, half precision, streaming."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import autocast_dtype, without_autocast


class SequenceLayer(nn.Module):
    """A layer (B, L, d_model) to (B, L, d_model); a subclass writes `mix`, and for streams its state and `_advance`.

    Under float16 autocast the whole layer computes in float32: its products leave the range of float16 easily.

    Args:
        d_model: channels of a token, at least 1.
        sizes: further arguments that must be at least 1, by name.

    Raises:
        ValueError: when a size is below 1 or the input does not fit.

    Example:
        >>> class Twice(SequenceLayer):
        ...     def mix(self, x):
        ...         return 2 * x
        >>> Twice(1)(torch.ones(1, 1, 1)).item()
        2.0
    """

    def __init__(self, d_model: int, **sizes: int) -> None:
        super().__init__()
        for name, value in {"d_model": d_model, **sizes}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        self.d_model = d_model

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"the input has shape {tuple(x.shape)}: give (batch, length, {self.d_model})")
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.mix(x.float())
        return self.mix(x)

    def mix(self, x: Tensor) -> Tensor:
        """The layer itself: (B, L, d_model) to the same shape."""
        raise NotImplementedError

    def check_step(self, x: Tensor) -> None:
        """Refuse a step that is not one token of each stream."""
        if x.dim() != 2 or x.shape[-1] != self.d_model:
            raise ValueError(f"the step has shape {tuple(x.shape)}: give one token a stream, (batch, {self.d_model})")


class GatedRMSNorm(nn.Module):
    """Divide by the root mean square of groups of channels, scale, and gate with silu(z).

    Mamba-2 (arXiv 2405.21060), section 7.1.

    Args:
        channels: channels of the input.
        group_size: channels that share one root mean square; all of them if None.
        norm_before_gate: gate after the norm instead of before it.
        eps: added to the mean square.

    Shape:
        x, z (..., channels), or z None for no gate; returns the shape of x.

    Example:
        >>> GatedRMSNorm(2)(torch.tensor([3.0, -3.0]))
        tensor([ 1.0000, -1.0000], grad_fn=...)
    """

    def __init__(
        self, channels: int, group_size: int | None = None, norm_before_gate: bool = False, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.group_size, self.norm_before_gate, self.eps = group_size or channels, norm_before_gate, eps

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        work = torch.promote_types(x.dtype, torch.float32)
        y = x.to(work)
        gate = None if z is None else F.silu(z.to(work))
        if gate is not None and not self.norm_before_gate:
            y = y * gate
        parts = torch.unflatten(y, -1, (-1, self.group_size))
        y = (parts * torch.rsqrt(parts.square().mean(-1, keepdim=True) + self.eps)).flatten(-2)
        y = y * self.weight.to(work)
        if gate is not None and self.norm_before_gate:
            y = y * gate
        return y.to(x.dtype)


def resolve_headdim(headdim: int | str, inner: int) -> int:
    """Channels of a head: as given, or for "auto" the largest divisor of the inner width up to 64.

    Example:
        >>> resolve_headdim("auto", 96), resolve_headdim(24, 96)
        (48, 24)
    """
    if headdim == "auto":
        return max(size for size in range(1, min(inner, 64) + 1) if inner % size == 0)
    if not isinstance(headdim, int) or headdim < 1 or inner % headdim:
        raise ValueError(f"headdim is {headdim!r}: give 'auto' or a divisor of the inner width {inner}")
    return headdim
