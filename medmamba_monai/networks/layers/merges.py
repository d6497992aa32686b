"""How the results of several scans of one grid become one grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MERGES = ("sum", "mean", "gate", "attention", "variation", "mask")


class ScanMerge(nn.Module):
    """Join the K grids that K sequences gave.

    * "sum" and "mean";
    * "gate": a weighted sum, the weights by softmax from a linear map of all means, as RSMamba (arXiv 2403.19654) does;
    * "attention": a sum after a gate for each channel of each grid, made from the grid's mean by two linear maps with
      GELU between and a sigmoid at the end, as LocalMamba (arXiv 2403.09338) does (all grids share the maps);
    * "variation": the sum times ReLU(CV - threshold), CV being the deviation over the K grids divided by their mean
      above the least of them, as MHS-VM (arXiv 2406.05992) does;
    * "mask": the sum of a random part of the grids, at least one, new in every call while training or not, as MambaMIR
      (arXiv 2402.18451) does; `torch.manual_seed` fixes it.

    Args:
        kind: one of these names.
        channels: channels of the grids.
        count: K.
        threshold: of "variation".

    Shape:
        grids (B, K, channels, *S); returns (B, channels, *S).

    Raises:
        ValueError: when there is no such kind.

    Example:
        >>> ScanMerge("gate", 4, 3)(torch.zeros(2, 3, 4, 5, 5)).shape
        torch.Size([2, 4, 5, 5])
    """

    def __init__(self, kind: str, channels: int, count: int, threshold: float = 0.0) -> None:
        super().__init__()
        if kind not in MERGES:
            raise ValueError(f"merge is {kind!r}: use one of {', '.join(MERGES)}")
        self.kind, self.threshold = kind, threshold
        if kind == "gate":
            self.weigh = nn.Linear(count * channels, count)
        elif kind == "attention":
            hidden = max(1, channels // 8)
            self.norm = nn.LayerNorm(channels)
            self.reduce, self.select = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, grids: Tensor) -> Tensor:
        if self.kind == "mean":
            return grids.mean(1)
        if self.kind == "gate":
            weights = self.weigh(grids.flatten(3).mean(3).flatten(1)).softmax(1)
            grids = grids * weights.reshape(*weights.shape, *[1] * (grids.dim() - 2))
        elif self.kind == "attention":
            tokens = self.norm(grids.flatten(3).transpose(2, 3)).mean(2)
            gates = torch.sigmoid(self.select(F.gelu(self.reduce(tokens))))
            grids = grids * gates.reshape(*gates.shape, *[1] * (grids.dim() - 3))
        elif self.kind == "mask":
            kept = torch.randint(1, 2 ** grids.shape[1], ())
            grids = grids[:, [k for k in range(grids.shape[1]) if int(kept) >> k & 1]]
        total = grids.sum(1)
        if self.kind == "variation":
            above = (grids - grids.amin(1, keepdim=True)).mean(1)
            total = total * F.relu(grids.std(1) / (above + 1e-5) - self.threshold)
        return total
