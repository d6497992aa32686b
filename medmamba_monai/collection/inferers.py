"""Inferers that average several passes of a network: over mirror images, or over scans masked at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers.inferer import Inferer, SimpleInferer
from torch import Tensor, nn

from medmamba_monai.networks.blocks.monte_carlo import monte_carlo
from medmamba_monai.networks.layers.masked_scan import MaskedScanMixer

__all__ = ["MirrorInferer", "MirrorSegmentationInferer", "MonteCarloInferer"]


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
        side_pairs: pairs of classes that stand for the two sides of the body. They change places in images mirrored
            along the first spatial axis, left to right in the RAS orientation.

    Shape:
        inputs (B, C, *S); returns (B, classes, *S), whose softmax is the averaged probability.

    Example:
        >>> inferer = MirrorSegmentationInferer([0])
        >>> image = torch.tensor([[[1.0, 2.0, 4.0]], [[0.0, 0.0, 0.0]]]).reshape(1, 2, 3)
        >>> torch.allclose(inferer(image, torch.nn.Identity()).softmax(1), image.softmax(1))
        True
    """

    def __init__(
        self,
        spatial_axes: Sequence[int] = (0, 1),
        inferer: Inferer | None = None,
        side_pairs: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self.inferer = inferer or SimpleInferer()
        self.other_side = {a: b for pair in side_pairs for a, b in (pair, reversed(pair))}
        axes = [axis + 2 for axis in spatial_axes]
        self.mirrors = [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        chances = []
        for axes in self.mirrors:
            output = self.inferer(inputs.flip(axes), network, *args, **kwargs).flip(axes).float().log_softmax(1)
            if 2 in axes and self.other_side:
                output = output[:, [self.other_side.get(number, number) for number in range(output.shape[1])]]
            chances.append(output)
        average: Tensor = torch.stack(chances).logsumexp(0) - torch.log(torch.tensor(float(len(chances))))
        return average


class MonteCarloInferer(Inferer):
    """Averages passes of a network whose scans are masked at random; their deviation is one more channel.

    See `medmamba_monai.networks.blocks.monte_carlo`. A network without masked scans is called once, and its deviation
    is 0.

    Args:
        passes: number of passes, at least 2.
        seed: start of the random masks; the same result for the same seed.

    Shape:
        inputs (B, C, *S); returns (B, channels + 1, *S): the mean, and behind it the root of the summed variances of
        its channels.

    Example:
        >>> from medmamba_monai.networks.nets import MambaMIR
        >>> MonteCarloInferer(2)(torch.rand(1, 2, 4, 6), MambaMIR(2, 2, dim=8, depths=[1])).shape
        torch.Size([1, 3, 4, 6])
    """

    def __init__(self, passes: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.passes, self.seed = passes, seed

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        assert isinstance(network, nn.Module)
        if not any(isinstance(part, MaskedScanMixer) and part.masked for part in network.modules()):
            once: Tensor = network(inputs, *args, **kwargs)
            return torch.cat((once, torch.zeros_like(once[:, :1])), 1)
        mean, std = monte_carlo(network, inputs, *args, passes=self.passes, seed=self.seed)
        return torch.cat((mean, std.square().sum(1, keepdim=True).sqrt()), 1)
