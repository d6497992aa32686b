"""The measures of fused images, compared with their equations written plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import Tensor

from medmamba_monai.metrics import (
    EntropyMetric,
    FusionSSIMMetric,
    MutualInformationMetric,
    NMSEMetric,
    VIFMetric,
)


def images(size: int = 48, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth random sources with grey levels of 8 bits, and their mean with noise."""
    rng = np.random.default_rng(seed)
    sources = [np.round(255 * np.cumsum(rng.random((size, size)), 1) / size) / 255 for _ in range(2)]
    fused = np.clip(sum(sources) / 2 + 0.02 * rng.normal(size=(size, size)), 0, 1)
    return torch.from_numpy(np.round(255 * fused) / 255)[None, None], torch.from_numpy(np.stack(sources))[None]


def entropy(*arrays: Tensor) -> float:
    """In bits, of the tuples of grey levels."""
    levels = [np.round(255 * array.numpy()).astype(int).ravel() for array in arrays]
    _, counts = np.unique(np.stack(levels), axis=1, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def test_entropy_and_mutual_information_are_those_of_the_histograms() -> None:
    fused, sources = images()
    assert EntropyMetric()(fused, sources).item() == pytest.approx(entropy(fused[0, 0]), rel=1e-5)
    plain = sum(entropy(fused[0, 0]) + entropy(s) - entropy(fused[0, 0], s) for s in sources[0])
    assert MutualInformationMetric()(fused, sources).item() == pytest.approx(plain, rel=1e-5)


def plain_vif(source: np.ndarray, fused: np.ndarray) -> float:
    """On grey levels of 0 to 255 with noise of variance 2, scale by scale, pixel by pixel."""
    source, fused, top, bottom = 255 * source, 255 * fused, 0.0, 0.0
    for scale in range(4):
        size = (17, 9, 5, 3)[scale]
        weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * (size / 5) ** 2))
        weights /= weights.sum()

        def local(x: np.ndarray, weights: np.ndarray = weights, edge: int = size // 2) -> np.ndarray:
            blurred = correlate1d(correlate1d(x, weights, 0), weights, 1)
            return blurred[edge:-edge, edge:-edge]

        if scale:
            source, fused = local(source)[::2, ::2], local(fused)[::2, ::2]
        m, n = local(source), local(fused)
        var_s, var_f, both = local(source**2) - m**2, local(fused**2) - n**2, local(source * fused) - m * n
        for s, f, c in zip(var_s.ravel(), var_f.ravel(), both.ravel(), strict=True):
            gain = max(c / s, 0.0) if s > 1e-9 else 0.0
            noise = max(f - gain * c, 0.0)
            top += np.log(1 + gain**2 * s / (noise + 2))
            bottom += np.log(1 + s / 2)
    return top / bottom


def test_vif_follows_its_equation() -> None:
    fused, sources = images()
    plain = np.mean([plain_vif(source, fused[0, 0].numpy()) for source in sources[0].numpy()])
    assert 0.05 < plain < 0.95
    assert VIFMetric()(fused, sources).item() == pytest.approx(plain, rel=1e-4)


def test_vif_is_lower_for_noise_and_higher_for_contrast() -> None:
    _, sources = images()
    source = sources[:, :1]
    torch.manual_seed(0)
    noisy = source + 0.05 * torch.randn_like(source)
    found = [VIFMetric()(image, source).item() for image in (source, noisy, 1.2 * source)]
    assert found[0] == pytest.approx(1, abs=1e-4) and found[1] < 0.8 and found[2] > 1


def test_ssim_is_averaged_over_the_sources_and_metrics_over_images() -> None:
    fused, sources = images()
    metric = FusionSSIMMetric()
    alone = [metric(fused, sources[:, i : i + 1]).item() for i in range(2)]
    assert metric(fused, sources).item() == pytest.approx(sum(alone) / 2)
    metric.reset()
    metric(torch.cat((fused, fused)), torch.cat((sources, sources)))
    assert metric.get_buffer().shape == (2, 1)
    assert metric.aggregate().item() == pytest.approx(sum(alone) / 2)


def test_nmse_is_the_error_over_the_energy_of_each_image() -> None:
    truth = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 1, 1, 2)
    found = NMSEMetric()(truth + torch.tensor([[1.0, 0.0], [0.0, 2.0]]).reshape(2, 1, 1, 2), truth)
    assert found.flatten().tolist() == pytest.approx([1 / 5, 4 / 25])


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one channel for each source"):
        EntropyMetric()(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match="at least 41"):
        VIFMetric()(torch.zeros(1, 1, 40, 48), torch.zeros(1, 2, 40, 48))
    with pytest.raises(ValueError, match="before aggregate"):
        VIFMetric().aggregate()
