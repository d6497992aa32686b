"""What the blocks of HMT-UNet, H-vmunet, HC-Mamba, MUCM-Net and P-Mamba compute, against their equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.blocks.diffusion import DiffusionStage, haar_gradients, perona_malik
from medmamba_monai.networks.blocks.high_order import HighOrderMixer
from medmamba_monai.networks.blocks.hybrid_conv import HybridConvBranch
from medmamba_monai.networks.blocks.mamba_vision import VisionMixer, WindowStage
from medmamba_monai.networks.blocks.u_mamba import InstanceNorm
from medmamba_monai.networks.blocks.ucm import UCMBlock
from medmamba_monai.networks.nets import MUCMNet


def touched(before: Tensor, after: Tensor) -> list[tuple[int, ...]]:
    """Places of a grid with channels last where two results differ."""
    return [tuple(place) for place in (before - after).abs().amax(-1)[0].nonzero().tolist()]


def test_windows_do_not_mix() -> None:
    torch.manual_seed(0)
    stage = WindowStage(8, 3, 2, [0.0, 0.0]).eval()
    x = torch.randn(1, 7, 6, 8)
    other = x.clone()
    other[0, 4, 1] = torch.randn(8)
    assert set(touched(stage(x), stage(other))) == {(i, j) for i in (3, 4, 5) for j in (0, 1, 2)}


def test_the_second_half_of_the_blocks_is_attention() -> None:
    for depth, scanned in ((1, 1), (2, 1), (3, 2), (8, 4)):
        blocks = WindowStage(8, 3, 2, [0.0] * depth).blocks
        assert [isinstance(block.mixer, VisionMixer) for block in blocks] == [i < scanned for i in range(depth)]


def test_the_released_mixer_adds_the_bias_twice() -> None:
    torch.manual_seed(0)
    once, twice = VisionMixer(8), VisionMixer(8, double_bias=True)
    twice.load_state_dict(once.state_dict())
    x = torch.randn(2, 5, 8)
    assert not torch.allclose(once(x), twice(x), rtol=1e-3)
    with torch.no_grad():
        once.dt_proj.bias.mul_(2)
    torch.testing.assert_close(once(x), twice(x))


def test_a_product_of_scans() -> None:
    torch.manual_seed(0)
    mixer = HighOrderMixer(2, 8, degree=2)
    x = torch.randn(1, 3, 4, 8)
    first, rest = mixer.proj_in(x)[..., :4], mixer.proj_in(x)[..., 4:]
    gates = mixer.gates(rest) / 3
    y = mixer.scans[0](first * gates[..., :4])
    y = mixer.scans[1](mixer.widen[0](y) * gates[..., 4:])
    torch.testing.assert_close(mixer(x), mixer.proj_out(y))
    with pytest.raises(ValueError, match="channels is 4.*multiple of 8"):
        HighOrderMixer(2, 4, degree=3)


@pytest.mark.parametrize("dilation", [1, 3])
def test_the_reach_of_a_dilated_convolution(dilation: int) -> None:
    torch.manual_seed(0)
    branch = HybridConvBranch(2, 4, dilation).eval()
    x = torch.randn(1, 13, 13, 4)
    other = x.clone()
    other[0, 6, 6] += 5
    rows = {row for row, _ in touched(branch(x), branch(other))}
    assert min(rows) == 6 - dilation - 1 and max(rows) == 6 + dilation + 1


def test_parts_of_the_channels_have_their_own_mamba() -> None:
    torch.manual_seed(0)
    block = UCMBlock(2, 8, parts=2)
    x = torch.randn(1, 3, 4, 8)
    normed = block.norm(x)
    tokens = normed.flatten(1, 2)
    scanned = torch.cat([block.mambas[0](tokens[..., :4]), block.mambas[1](tokens[..., 4:])], -1).reshape(x.shape)
    hidden = F.gelu(block.conv1(block.fc1(normed)))
    torch.testing.assert_close(block(x), block.conv2(block.fc2(hidden)) + scanned + normed)
    with pytest.raises(ValueError, match="parts is 3"):
        UCMBlock(2, 8, parts=3)


def test_wavelet_bands_of_a_slope() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(6.0), indexing="ij")
    down, across = haar_gradients((3 * rows + 5 * columns)[None, None])
    assert (down == 3).all() and (across == 5).all()
    assert down.shape == (1, 1, 4, 3)


def test_diffusion_is_the_divergence_of_the_weighed_gradient() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 8, 10)
    down, across = haar_gradients(x)
    keep = 1 / (1 + (down**2 + across**2) / 0.5**2)
    expected = torch.gradient(keep * down, dim=2)[0] + torch.gradient(keep * across, dim=3)[0]
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(perona_malik(x, 0.5)[inner], expected[inner])


def test_the_image_weighs_its_two_branches() -> None:
    torch.manual_seed(0)
    stage = DiffusionStage(2, 1, 8, 2, (4, 4), [0.0]).eval()
    x = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        stage.gate.weight.zero_()
        stage.gate.bias.fill_(-100.0)
        scanned = stage(x)
        stage.local.conv1.weight.add_(1.0)
        assert torch.equal(stage(x), scanned)
        stage.gate.bias.fill_(100.0)
        diffused = stage(x)
        stage.local.conv1.weight.sub_(2.0)
        assert not torch.allclose(stage(x), diffused)


def test_one_image_that_shrinks_to_a_single_place() -> None:
    net = MUCMNet(2, 1, 2, channels=[4, 8, 8])
    assert net.eval()(torch.randn(1, 1, 8, 8)).isfinite().all()
    assert InstanceNorm(2)(torch.randn(1, 2, 1, 1)).abs().max() < 1e-3
