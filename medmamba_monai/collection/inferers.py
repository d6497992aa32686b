"""An inferer that averages a classifier over an image and its mirror image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor

__all__ = ["MirrorInferer"]


class MirrorInferer(Inferer):
    """Averages the probabilities of an image and of its mirror image, and returns their logarithms.

    Args:
        spatial_axis: axis of the image that is mirrored; 0 is left to right in MONAI's layout.

    Shape:
        inputs (B, C, *S); returns (B, classes), whose softmax is the averaged probability.

    Example:
        >>> inferer = MirrorInferer()
        >>> first = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]]]])
        >>> pick = lambda x: torch.stack([x[:, 0, 0, 0], x[:, 0, 1, 0]], 1)
        >>> inferer(first, pick).softmax(1)
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, spatial_axis: int = 0) -> None:
        super().__init__()
        self.axis = spatial_axis + 2

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        straight = network(inputs, *args, **kwargs).float().log_softmax(1)
        mirrored = network(inputs.flip(self.axis), *args, **kwargs).float().log_softmax(1)
        return torch.logaddexp(straight, mirrored) - torch.log(torch.tensor(2.0))
