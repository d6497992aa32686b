"""Bags of features, as slides are cut into: their checks, the way in and the attention that pools them."""

from __future__ import annotations

from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice
from medmamba_monai.networks.layers.precision import in_float32, saturate


def check_bag(x: Tensor, in_channels: int) -> None:
    """Refuse a tensor that is not (batch, instances, in_channels) of floating point.

    Raises:
        TypeError: when the tensor is not of floating point.
        ValueError: when its rank, channels or size do not fit.

    Example:
        >>> import torch
        >>> check_bag(torch.zeros(4, 3), 3)
        Traceback (most recent call last):
        ValueError: the input has shape (4, 3): give (batch, instances, channels), for one bag a batch of 1
    """
    if x.dim() != 3:
        raise ValueError(
            f"the input has shape {tuple(x.shape)}: give (batch, instances, channels), for one bag a batch of 1"
        )
    if not x.is_floating_point():
        raise TypeError(f"the input has dtype {x.dtype}: convert it to floating point, for example by .float()")
    if x.shape[2] != in_channels:
        raise ValueError(
            f"the input has {x.shape[2]} channels and the network takes {in_channels}: set in_channels={x.shape[2]}"
        )
    if 0 in x.shape:
        raise ValueError(f"the input has shape {tuple(x.shape)}: give at least one bag with at least one instance")


class FeatureProjection(nn.Sequential):
    """A linear map of each instance, an activation and dropout.

    Args:
        in_channels: channels of an instance.
        channels: channels after the map.
        act: "relu" or "gelu".
        dropout: chance to drop a number while training.

    Shape:
        x (B, N, in_channels); returns (B, N, channels).

    Example:
        >>> import torch
        >>> FeatureProjection(3, 4)(torch.zeros(1, 2, 3)).shape
        torch.Size([1, 2, 4])
    """

    def __init__(self, in_channels: int, channels: int, act: str = "relu", dropout: float = 0.0) -> None:
        check_choice("act", act, ("relu", "gelu"))
        super().__init__(
            nn.Linear(in_channels, channels), nn.ReLU() if act == "relu" else nn.GELU(), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = saturate(x)
        for part in self:
            x = part(x)
        return saturate(x)


class AttentionPool(nn.Module):
    """Weigh the instances of a bag by a small network of each and add them up.

    ABMIL (arXiv 1802.04712), equations 7 and 8.

    Args:
        channels: channels of an instance.
        hidden: width of the small network.

    Shape:
        x (B, N, channels); returns (B, channels).

    Example:
        >>> import torch
        >>> AttentionPool(4, 2)(torch.ones(1, 5, 4)).tolist()
        [[1.0, 1.0, 1.0, 1.0]]
    """

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(channels, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        weights = in_float32(self.score, x).softmax(1)
        return saturate((weights.transpose(1, 2).to(x.dtype) @ x).squeeze(1))
