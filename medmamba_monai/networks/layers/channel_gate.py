"""A gate on the channels of tokens, made from the mean of all tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.layers.precision import saturate


class ChannelGate(nn.Module):
    """Multiply the channels by a sigmoid of a small network of the normed tokens' mean.

    LocalMamba (arXiv 2403.09338), section 3.4, in the form of its code, which has no gate on positions;
    EfficientVMamba (arXiv 2403.09977) uses the same.

    Args:
        channels: channels of a token.
        ratio: width of the network's middle over the channels.

    Shape:
        x (B, ..., channels), channels last; returns the same shape.

    Example:
        >>> ChannelGate(8)(torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, channels: int, ratio: float = 0.125) -> None:
        super().__init__()
        middle = max(int(channels * ratio), 1)
        self.norm = nn.LayerNorm(channels)
        self.global_reduce = nn.Linear(channels, middle)
        self.channel_select = nn.Linear(middle, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.norm(x).flatten(1, -2).mean(1)
        gate = torch.sigmoid(saturate(self.channel_select(F.gelu(saturate(self.global_reduce(mean))))))
        return x * gate.reshape(x.shape[0], *(1,) * (x.dim() - 2), -1).to(x.dtype)
