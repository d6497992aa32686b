"""What adapts a frozen transformer of images to volumes: low-rank queries and values, and Mamba across slices."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import saturate

PLANES = ("slices", "rows", "volume")


class LowRankQKV(nn.Linear):
    """A projection to queries, keys and values with trained additions of low rank to the queries and the values.

    LoRA (arXiv 2106.09685) with GELU between its two maps, as TP-Mamba (arXiv 2409.08492) has it.

    Args:
        linear: the projection, whose weights are taken over, not copied.
        rank: width between the two maps.

    Shape:
        x (..., channels); returns (..., 3 * channels), queries, keys and values one after the other.

    Raises:
        ValueError: when the rank is out of range.

    Example:
        >>> linear = nn.Linear(4, 12)
        >>> x = torch.rand(1, 5, 4)
        >>> torch.equal(LowRankQKV(linear, 2)(x), linear(x))
        True

    Notes:
        It starts as the projection itself.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        channels = linear.in_features
        super().__init__(channels, linear.out_features, linear.bias is not None)
        check_positive(rank=rank)
        self.weight, self.bias = linear.weight, linear.bias
        self.query_down, self.value_down = (nn.Linear(channels, rank, bias=False) for _ in range(2))
        self.query_up, self.value_up = (nn.Linear(rank, channels, bias=False) for _ in range(2))
        nn.init.zeros_(self.query_up.weight)
        nn.init.zeros_(self.value_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = super().forward(x).chunk(3, -1)
        query = query + self.query_up(F.gelu(self.query_down(x)))
        value = value + self.value_up(F.gelu(self.value_down(x)))
        return torch.cat((query, key, value), -1)


class PlaneAdapter(nn.Module):
    """x + up(GELU(LayerNorm(Mamba(down(x))))), where Mamba reads one plane of a volume after the other.

    TP-Mamba (arXiv 2409.08492), the tri-plane Mamba adapter.

    Args:
        channels: channels of a token.
        plane: "slices" for each slice by its rows and columns, "rows" for the plane of slices and columns at each row,
            "volume" for all tokens as one sequence.
        reduction: channels over those between the two maps.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolution.
        expand: inner width of Mamba over its channels.

    Shape:
        x (B, slices, rows, columns, channels); returns the same shape.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> x = torch.rand(1, 3, 2, 4, 8)
        >>> torch.equal(PlaneAdapter(8, "rows")(x), x)
        True

    Notes:
        It starts as the identity.
    """

    def __init__(
        self,
        channels: int,
        plane: str,
        reduction: int = 4,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        check_choice("planes", plane, PLANES)
        width = channels // reduction
        self.plane = plane
        self.down, self.up = nn.Linear(channels, width, bias=False), nn.Linear(width, channels, bias=False)
        self.mamba, self.norm = Mamba(width, d_state, d_conv, expand), nn.LayerNorm(width)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = saturate(self.down(x))
        # the planes become samples of their own
        read = y.transpose(1, 2) if self.plane == "rows" else y
        lines = read.flatten(1, 3) if self.plane == "volume" else read.flatten(0, 1).flatten(1, 2)
        mixed = F.gelu(self.norm(saturate(self.mamba(lines)))).reshape(read.shape)
        mixed = mixed.transpose(1, 2) if self.plane == "rows" else mixed
        return saturate(x + saturate(self.up(mixed)))
