"""What the frames add around a network: interpolation, measured k-space, a second image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.blocks.fft_utils_t import fftn_centered_t
from torch import nn

from medmamba_monai.networks.blocks.framed import Enlarged, MeasuredKept, PairInChannels


def test_enlarging_begins_at_the_interpolation() -> None:
    x = torch.rand(2, 1, 6, 5)
    inner = nn.Upsample(scale_factor=2)
    framed, bicubic = Enlarged(inner), F.interpolate(x, scale_factor=2, mode="bicubic")
    assert torch.equal(framed(x), bicubic)
    nn.init.constant_(framed.gain, 0.5)
    assert torch.allclose(framed(x), bicubic + 0.5 * inner(x))
    framed(x).sum().backward()
    assert framed.gain.grad is not None and framed.gain.grad.abs() > 0


def test_measured_columns_stay_and_others_are_the_networks() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([1.0, 0, 1, 1, 0, 0]).expand(1, 1, 4, 6)
    x = torch.cat((torch.randn(1, 2, 4, 6), mask), 1)
    inner = nn.Conv2d(2, 2, 3, padding=1)
    framed = MeasuredKept(inner)
    assert torch.allclose(framed(x), x[:, :2], atol=1e-5)
    nn.init.ones_(framed.gain)
    kspaces = [fftn_centered_t(y.movedim(1, -1), 2) for y in (framed(x), x[:, :2], inner(x[:, :2]))]
    found, given, made = (k.movedim(-1, 1) for k in kspaces)
    kept = mask.expand(1, 2, 4, 6) > 0
    assert torch.allclose(found[kept], given[kept], atol=1e-5)
    assert torch.allclose(found[~kept], made[~kept], atol=1e-5)


def test_a_pair_begins_at_its_average_and_keeps_its_order() -> None:
    class Difference(nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return first - second

    x = torch.rand(1, 2, 3, 4)
    framed = PairInChannels(Difference())
    assert torch.allclose(framed(x), x.mean(1, keepdim=True))
    nn.init.ones_(framed.gain)
    assert torch.allclose(framed(x), (x[:, :1] - x[:, 1:]) / 4, atol=1e-6)
