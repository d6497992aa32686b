"""The layer of MambaMIL: a Mamba that reads the sequence as it is and once more in strides."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.layers.vim import VimMamba
from medmamba_monai.ops import causal_conv1d


class ReorderedMamba(VimMamba):
    """Mix a sequence of tokens with two selective scans, one in order and one that takes every ``rate``-th token.

    MambaMIL (arXiv 2403.06800), section 2.3 (SR-Mamba). Parameter names are those of the authors' code.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), at least 1.
        d_conv: taps of the causal convolutions, at least 1.
        expand: the inner width is ``int(expand * d_model)``.
        rate: distance of the tokens that follow each other in the second sequence.

    Shape:
        x (B, L, d_model); returns the same shape.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> import torch
        >>> ReorderedMamba(8, rate=3)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Notes:
        As in the authors' code the projected sequence is filled with zeros to a multiple of the rate, and these take
        part in the second scan.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: float = 2, rate: int = 10) -> None:
        super().__init__(d_model, d_state, d_conv, expand, mean=False)
        if rate < 1:
            raise ValueError(f"rate is {rate}: it must be at least 1")
        self.rate = rate

    def _two_ways(self, u: Tensor, z: Tensor) -> Tensor:
        v = causal_conv1d(u, self.conv1d.weight.squeeze(1), self.conv1d.bias, "silu")
        forwards = self._scan(v, z, self.A_log, self.x_proj, self.dt_proj, self.D)
        length = u.shape[-1]
        missing = -length % self.rate
        strided = [F.pad(t, (0, missing)).unflatten(-1, (-1, self.rate)).transpose(2, 3).flatten(2) for t in (u, z)]
        w = causal_conv1d(strided[0], self.conv1d_b.weight.squeeze(1), self.conv1d_b.bias, "silu")
        second = self._scan(w, strided[1], self.A_b_log, self.x_proj_b, self.dt_proj_b, self.D_b)
        back: Tensor = second.unflatten(-1, (self.rate, -1)).transpose(2, 3).flatten(2)[..., :length]
        return forwards + back
