"""What the 3D, registration, restoration and video networks promise beyond the contract of all networks."""

from __future__ import annotations

import logging

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.blocks.fft_utils_t import fftn_centered_t
from torch import nn

from medmamba_monai.networks.blocks.nn_mamba import expected_points
from medmamba_monai.networks.layers.tri_oriented import TriOrientedMamba
from medmamba_monai.networks.nets import (
    CAMSNet,
    FusionMamba,
    MambaIR,
    MambaIRUNet,
    MambaMorph,
    MambaRecon,
    NnMambaClassifier,
    SegMamba,
    TMamba,
    Vivim,
    VMambaMorph,
)
from medmamba_monai.weights import convert
from tests.networks.cases import build
from tests.networks.inputs import inputs, tensors

CHECKPOINTED = ["mambair_2d", "mambamil", "mambamorph_2d", "mammil", "nnmamba_3d", "segmamba_3d", "tmamba_3d", "vivim"]
CHECKPOINTED += ["hy_mamba_2d", "mamba_mim_2d", "tp_mamba", "vmrnn"]


@pytest.mark.parametrize("case", CHECKPOINTED)
def test_checkpoints_change_no_gradient(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls = [], []
    original = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        "medmamba_monai.networks.blocks.checkpoint.checkpoint", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    for use in (False, True):
        net = build(case, use_checkpoint=use).train()
        torch.manual_seed(1)
        sum(y.square().mean() for y in tensors(net(*inputs(case)))).backward()
        found.append([p.grad for p in net.parameters()])
        assert bool(calls) is use
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("case", ["nnmamba_3d", "segmamba_3d", "tmamba_3d"])
def test_sliding_windows_over_thick_slices(case: str) -> None:
    net = build(case).eval()
    volume = torch.randn(1, 2, 5, 20, 18)
    with torch.no_grad():
        y = SlidingWindowInferer((4, 12, 12), sw_batch_size=4, overlap=0.25, mode="gaussian")(volume, net)
    assert y.shape == (1, 3, 5, 20, 18)
    assert y.isfinite().all()


def test_other_numbers_of_axes() -> None:
    volume, image = torch.rand(1, 1, 5, 8, 9), torch.rand(1, 1, 9, 11)
    fused = FusionMamba(3, 1, depths=[1, 1], depths_decoder=[1, 1], dims=[4, 8])(volume, volume)
    assert fused.shape == volume.shape
    assert CAMSNet(3, 1, 2, [4, 8], 1, 16)(volume).shape == (1, 2, 5, 8, 9)
    assert MambaIRUNet(3, 1, dim=4, depths=[1, 1], refinement=1)(volume).shape == volume.shape
    pair = volume.expand(-1, 2, -1, -1, -1)
    maps = torch.rand(1, 2, 5, 8, 9, 2)
    assert MambaRecon(3, dim=4, depths=[1])(pair, volume, maps).shape == pair.shape
    moved, ddf = VMambaMorph(2, 1, dim=8, depths=[1, 1])(image, image)
    assert moved.shape == image.shape and ddf.shape == (1, 2, 9, 11)
    assert TMamba(2, 1, 2, units=[1, 1, 1]).eval()(image).shape == (1, 2, 9, 11)
    assert NnMambaClassifier(2, 1, 3, channels=4, blocks=1).eval()(image).shape == (1, 3)


def test_tables_of_another_size_are_interpolated() -> None:
    torch.manual_seed(0)
    net = TMamba(2, 1, 2, units=[1, 1, 1], img_size=[16, 16]).eval()
    for table in (*net.positions, *net.spectra):
        nn.init.normal_(table)
    x = torch.randn(1, 1, 16, 16)
    y = net(x)
    with torch.no_grad():
        net.positions[0].mul_(2)
    assert not torch.allclose(net(x), y)
    assert net(torch.randn(1, 1, 24, 9)).isfinite().all()


def test_the_third_scan_runs_along_the_slices() -> None:
    layer, x = TriOrientedMamba(4), torch.randn(1, 4, 6)
    one, two = layer.mix(x, 1), layer.mix(x, 2)
    # with slices of a single voxel the third scan is the first one again
    torch.testing.assert_close(layer.mix(x, 6), one)
    assert not torch.allclose(one, two)
    with pytest.raises(ValueError, match="4 equal slices"):
        layer.mix(x, 4)


def test_slices_are_counted_from_the_map() -> None:
    torch.manual_seed(0)
    given = {"features": [4, 8], "depths": [1, 1], "hidden_size": 8}
    counted, fixed, other = (SegMamba(3, 1, 2, slices=s, **given).eval() for s in (None, [4, 2], [8, 8]))
    for net in (fixed, other):
        net.load_state_dict(counted.state_dict())
    x = torch.randn(1, 1, 8, 16, 16)
    torch.testing.assert_close(counted(x), fixed(x))
    assert not torch.allclose(counted(x), other(x))


def test_clips_of_any_length() -> None:
    given = {"dims": [4], "depths": [1], "mamba_depths": [1], "heads": [1], "reductions": [1], "decoder_dim": 4}
    net = Vivim(3, 1, 2, **given).eval()
    assert net(torch.randn(1, 1, 7, 8, 8)).shape == (1, 2, 7, 8, 8)
    fixed = Vivim(3, 1, 2, slices=5, **given).eval()
    fixed.load_state_dict(net.state_dict())
    clip = torch.randn(1, 1, 5, 8, 8)
    torch.testing.assert_close(fixed(clip), net(clip))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("upsampler", ["shuffle", "direct"])
def test_larger_images(scale: int, upsampler: str) -> None:
    net = MambaIR(2, 1, dim=4, depths=[1], scale=scale, upsampler=upsampler)
    assert net(torch.randn(1, 1, 5, 7)).shape == (1, 1, 5 * scale, 7 * scale)


def test_without_weights_denoising_gives_the_image_back() -> None:
    net = MambaIR(2, 2, dim=4, depths=[1], mean=[0.3, 0.4]).eval()
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    x = torch.rand(1, 2, 5, 7)
    torch.testing.assert_close(net(x), x)


def test_a_constant_velocity_shifts_the_moving_image() -> None:
    net = MambaMorph(2, 1, dim=8, levels=1).eval()
    nn.init.zeros_(net.head.weight)
    with torch.no_grad():
        net.head.bias.copy_(torch.tensor([0.0, 1.0]))
    moving, fixed = torch.rand(1, 1, 12, 12), torch.rand(1, 1, 12, 12)
    moved, ddf = net(moving, fixed)
    inner = (slice(None), slice(None), slice(3, 9), slice(3, 9))
    torch.testing.assert_close(ddf[inner][:, 1], torch.ones(1, 6, 6), atol=1e-3, rtol=0)
    # the displacement tells where in the moving image a voxel comes from, the last axis being the second number
    torch.testing.assert_close(moved[inner], moving[:, :, 3:9, 4:10], atol=1e-3, rtol=0)
    back = net.deformation.warp(net.inverse(moving, fixed), ddf) + ddf
    torch.testing.assert_close(back[inner], torch.zeros(1, 2, 6, 6), atol=1e-3, rtol=0)


def test_two_rounds_add_up() -> None:
    nets = [MambaMorph(2, 1, dim=8, levels=1, rounds=rounds).eval() for rounds in (1, 2)]
    for net in nets:
        nn.init.zeros_(net.head.weight)
        with torch.no_grad():
            net.head.bias.copy_(torch.tensor([0.5, 0.0]))
    x = torch.rand(1, 1, 12, 12), torch.rand(1, 1, 12, 12)
    once, twice = (net(*x)[1][:, 0, 4:8, 4:8] for net in nets)
    torch.testing.assert_close(twice, 2 * once, atol=1e-3, rtol=0)


def test_pairs_must_be_alike() -> None:
    with pytest.raises(ValueError, match="make them alike"):
        MambaMorph(2, 1, dim=8, levels=1)(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 9))
    with pytest.raises(ValueError, match="read_out is True"):
        MambaMorph(2, 1, read_out=True)


def test_measured_data_are_kept() -> None:
    net = MambaRecon(2, dim=8, depths=[1]).eval()
    x, mask = torch.randn(1, 2, 8, 12), torch.rand(1, 1, 8, 12) < 0.5
    one_coil = torch.zeros(1, 1, 8, 12, 2)
    one_coil[..., 0] = 1
    y = net(x, mask, one_coil)
    made, given = (fftn_centered_t(t.movedim(1, -1), 2) for t in (y, x))
    torch.testing.assert_close(made[mask[:, 0]], given[mask[:, 0]], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made, given, atol=1e-2)
    with pytest.raises(ValueError, match="maps has shape"):
        net(x, mask, one_coil[..., 0])


def test_points_are_means_of_their_heatmaps() -> None:
    heatmaps = torch.full((1, 1, 3, 4, 5), -1e4)
    heatmaps[0, 0, 2, 1, 3] = heatmaps[0, 0, 2, 3, 3] = 0
    assert expected_points(heatmaps).tolist() == [[[2.0, 2.0, 3.0]]]


def test_dead_weights_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    net = VMambaMorph(3, 1, dim=8, depths=[2], design="released")
    state = {**net.state_dict(), "transformer.layers.0.mamba.0.ln_1.weight": torch.ones(8)}
    state["spatial_trans.grid"] = torch.zeros(1, 3, 4, 4, 4)
    with caplog.at_level(logging.INFO, "medmamba_monai.weights.convert"):
        assert set(convert(state, net)) == set(net.state_dict())
    assert "dropped 2 entries" in caplog.text and "spatial_trans.grid" in caplog.text
