"""How much of two images is in the one that was fused from them: entropy, mutual information, SSIM, VIF."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from monai.metrics import CumulativeIterationMetric
from monai.metrics.regression import SSIMMetric
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction
from torch import Tensor

LEVELS = 256  # grey levels of the histograms
SCALES = 4
NOISE = 2.0 / 255**2  # variance of the eye's noise, of images in the range 0 to 1
TINY = 1e-10


class _FusionMetric(CumulativeIterationMetric):
    """A number for each fused image; images are in the range 0 to 1."""

    def __init__(self, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__()
        self.reduction = reduction

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        if y is None or y_pred.dim() < 3 or y_pred.shape[1] != 1 or y.shape[2:] != y_pred.shape[2:]:
            shapes = tuple(y_pred.shape), None if y is None else tuple(y.shape)
            raise ValueError(
                f"the fused image and its sources have shapes {shapes[0]} and {shapes[1]}: give (batch, 1, *size) and "
                "one channel for each source"
            )
        found: Tensor = self._compare(torch.as_tensor(y_pred).double(), torch.as_tensor(y).double())
        return found.reshape(-1, 1).float()

    def _compare(self, fused: Tensor, sources: Tensor) -> Tensor:
        """The mean over the sources of what each gives."""
        return torch.stack([self._with_one(fused, source) for source in sources.split(1, 1)]).mean(0)

    def _with_one(self, fused: Tensor, source: Tensor) -> Tensor:
        raise NotImplementedError

    def aggregate(self, reduction: MetricReduction | str | None = None) -> Tensor:
        """The reduction over all images since the last `reset`."""
        data = self.get_buffer()  # type: ignore[no-untyped-call]
        if not isinstance(data, Tensor):
            raise ValueError("there are no images yet: call the metric before aggregate")
        reduced: Tensor = do_metric_reduction(data, reduction or self.reduction)[0]
        return reduced


class EntropyMetric(_FusionMetric):
    """Entropy of the fused image's 256 grey levels, in bits; it says nothing of the sources.

    Args:
        reduction: MONAI's reduction over the images of all batches.

    Shape:
        y_pred (B, 1, *S) and y (B, sources, *S) in the range 0 to 1; gives one number an image.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> fused = torch.tensor([0.0, 1.0]).repeat(8).reshape(1, 1, 4, 4)
        >>> EntropyMetric()(fused, fused)
        tensor([[1.]])
    """

    def _compare(self, fused: Tensor, sources: Tensor) -> Tensor:
        return torch.stack([_bits(_levels(image)) for image in fused])


class MutualInformationMetric(_FusionMetric):
    """Mutual information of the fused image with each source, in bits of 256 grey levels, added up over the sources.

    "Information measure for performance of image fusion" (Qu, Zhang, Yan, Electronics Letters 38, 2002).

    Args:
        reduction: MONAI's reduction over the images of all batches.

    Shape:
        y_pred (B, 1, *S) and y (B, sources, *S) in the range 0 to 1; gives one number an image.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> fused = torch.tensor([0.0, 1.0]).repeat(8).reshape(1, 1, 4, 4)
        >>> MutualInformationMetric()(fused, torch.cat((fused, fused), 1))
        tensor([[2.]])
    """

    def _compare(self, fused: Tensor, sources: Tensor) -> Tensor:
        return torch.stack([self._with_one(fused, source) for source in sources.split(1, 1)]).sum(0)

    def _with_one(self, fused: Tensor, source: Tensor) -> Tensor:
        pairs = zip(map(_levels, fused), map(_levels, source), strict=True)
        return torch.stack([_bits(a) + _bits(b) - _bits(LEVELS * a + b, LEVELS**2) for a, b in pairs])


class FusionSSIMMetric(_FusionMetric):
    """Structural similarity of the fused image with each source, averaged: MONAI's SSIM.

    Args:
        reduction: MONAI's reduction over the images of all batches.

    Shape:
        y_pred (B, 1, W, H) and y (B, sources, W, H) in the range 0 to 1; gives one number an image.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> image = torch.rand(1, 1, 16, 16)
        >>> FusionSSIMMetric()(image, torch.cat((image, image), 1))
        tensor([[1.]])
    """

    def _with_one(self, fused: Tensor, source: Tensor) -> Tensor:
        found: Tensor = SSIMMetric(spatial_dims=2)._compute_metric(fused.float(), source.float())
        return found.double().reshape(-1)


class VIFMetric(_FusionMetric):
    """Visual information fidelity of the fused image to each source, averaged; 1 for equal images.

    "Image information and visual quality" (Sheikh, Bovik, IEEE TIP 15, 2006), equation 9, in the domain of pixels: at
    four scales the source's local variance is the signal, the fused image is a gain of it plus noise, and the eye adds
    noise of variance 2 (of 256 grey levels) to both.

    Args:
        reduction: MONAI's reduction over the images of all batches.

    Shape:
        y_pred (B, 1, W, H) and y (B, sources, W, H) in the range 0 to 1, sides of at least 41; gives one number an
        image.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> image = torch.rand(1, 1, 48, 48)
        >>> VIFMetric()(image, torch.cat((image, image), 1))
        tensor([[1.0000]])
    """

    def _with_one(self, fused: Tensor, source: Tensor) -> Tensor:
        kept, whole = torch.zeros(len(fused)).to(fused), torch.zeros(len(fused)).to(fused)
        for scale in range(SCALES):
            window = _gaussian(2 ** (SCALES - scale) + 1).to(fused)
            if scale:
                source, fused = (_blur(image, window)[..., ::2, ::2] for image in (source, fused))
            if min(fused.shape[2:]) < len(window):
                raise ValueError(
                    f"an image has {tuple(fused.shape[2:])} pixels at scale {scale + 1} of {SCALES}: the sides of the "
                    "images must be at least 41"
                )
            part, of = _information(source, fused, window)
            kept, whole = kept + part, whole + of
        return (kept + TINY) / (whole + TINY)


def _information(source: Tensor, fused: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """What the eye learns of the source from the fused image, and from the source itself."""
    mean_s, mean_f = _blur(source, window), _blur(fused, window)
    var_s = (_blur(source * source, window) - mean_s * mean_s).clamp(min=0)
    var_f = (_blur(fused * fused, window) - mean_f * mean_f).clamp(min=0)
    covariance = _blur(source * fused, window) - mean_s * mean_f
    # a flat source gives nothing, and a negative gain is no copy of the source
    gain = torch.where(var_s < TINY, 0.0, covariance / (var_s + TINY)).clamp(min=0)
    noise = (var_f - gain * covariance).clamp(min=TINY)
    noise = torch.where(gain > 0, noise, var_f.clamp(min=TINY))
    part = torch.log2(1 + gain.square() * var_s / (noise + NOISE)).flatten(1).sum(1)
    return part, torch.log2(1 + var_s / NOISE).flatten(1).sum(1)


def _gaussian(size: int) -> Tensor:
    """Weights of a Gaussian window whose deviation is a fifth of its size."""
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-places.square() / (2 * (size / 5) ** 2))
    return weights / weights.sum()


def _blur(image: Tensor, window: Tensor) -> Tensor:
    """Local means where the whole window lies inside the image."""
    rows = F.conv2d(image, window.reshape(1, 1, -1, 1))
    return F.conv2d(rows, window.reshape(1, 1, 1, -1))


def _levels(image: Tensor) -> Tensor:
    return (image * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long().flatten()


def _bits(numbers: Tensor, count: int = LEVELS) -> Tensor:
    """Entropy of whole numbers below ``count``."""
    share = torch.bincount(numbers, minlength=count).double() / numbers.numel()
    nats: Tensor = torch.special.entr(share).sum()
    return nats / math.log(2)
