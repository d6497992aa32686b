"""Inferers that average a network over an image and its mirror images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers.inferer import Inferer, SimpleInferer
from torch import Tensor

__all__ = ["MirrorInferer", "MirrorSegmentationInferer"]


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


class MirrorSegmentationInferer(Inferer):
    """Averages a segmentation over an image and its mirror images, turned back, and returns logarithms.

    Args:
        spatial_axes: axes of the image that are mirrored, in all combinations.
        inferer: how the network sees each of them, such as a sliding window; at once without it.

    Shape:
        inputs (B, C, *S); returns (B, classes, *S), whose softmax is the averaged probability.

    Example:
        >>> inferer = MirrorSegmentationInferer([0])
        >>> image = torch.tensor([[[1.0, 2.0, 4.0]], [[0.0, 0.0, 0.0]]]).reshape(1, 2, 3)
        >>> torch.allclose(inferer(image, torch.nn.Identity()).softmax(1), image.softmax(1))
        True
    """

    def __init__(self, spatial_axes: Sequence[int] = (0, 1), inferer: Inferer | None = None) -> None:
        super().__init__()
        self.inferer = inferer or SimpleInferer()
        axes = [axis + 2 for axis in spatial_axes]
        self.mirrors = [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        outputs = (self.inferer(inputs.flip(axes), network, *args, **kwargs).flip(axes) for axes in self.mirrors)
        chances = torch.stack([output.float().log_softmax(1) for output in outputs])
        average: Tensor = chances.logsumexp(0) - torch.log(torch.tensor(float(len(self.mirrors))))
        return average
