"""Networks with weights that no start has, for comparisons with equations."""

from __future__ import annotations

import torch
from torch import nn


def randomised(net: nn.Module) -> nn.Module:
    """The network with random weights, so that every term matters, in evaluation mode."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in net.named_parameters():
            drawn = 0.3 * torch.randn(p.shape, generator=generator)
            p.copy_(1 + drawn if "norm" in name and name.endswith("weight") else drawn)
    return net.eval()
