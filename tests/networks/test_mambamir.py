"""MambaMIR: its masked scan against the equations, the uncertainty of several calls, and data consistency."""

from __future__ import annotations

import pytest
import torch
from monai.networks.blocks.fft_utils_t import fftn_centered_t
from torch import Tensor, nn

from medmamba_monai.networks.blocks.data_consistency import keep_measured
from medmamba_monai.networks.blocks.monte_carlo import monte_carlo
from medmamba_monai.networks.layers import scan_mixer
from medmamba_monai.networks.layers.masked_scan import MaskedScanMixer
from medmamba_monai.networks.nets import MambaIR, MambaMIR
from tests.networks import equations


def spelled_out(mixer: MaskedScanMixer, x: Tensor, kept: list[int]) -> Tensor:
    """The mixer on (B, H, W, C) as the authors' code has it: the sequences that are left out are set to zero."""
    state = dict(mixer.state_dict())
    state |= {"conv2d.weight": state.pop("conv.weight"), "conv2d.bias": state.pop("conv.bias")}

    def scan_map(u: Tensor, s: equations.State) -> Tensor:
        h, w = u.shape[2:]
        rows, columns = u.flatten(2), u.transpose(2, 3).flatten(2)
        sequences = [rows, columns, rows.flip(-1), columns.flip(-1)]
        masked = [y if k in kept else torch.zeros_like(y) for k, y in enumerate(sequences)]
        a, b, c, d = equations.scan_sequences(masked, s)
        by_rows, by_columns = a + c.flip(-1), b + d.flip(-1)
        return by_rows.unflatten(2, (h, w)) + by_columns.unflatten(2, (w, h)).transpose(2, 3)

    y, gate = equations.ss2d(x, state, scan_map)
    return (y * gate) @ state["out_proj.weight"].t()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kept", [[0, 1, 3], [1, 2, 3], [2, 3], [1], [0, 1, 2, 3]], ids=str)
def test_masked_scans_get_zeros(kept: list[int], fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mixer, x = MaskedScanMixer(6, masked=4 - len(kept), d_state=3), torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        for p in mixer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    monkeypatch.setattr(mixer, "draw", lambda: kept)
    if not fused:
        monkeypatch.setattr(scan_mixer, "runs_fused", lambda x: False)
    torch.testing.assert_close(mixer(x), spelled_out(mixer, x, kept), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("spatial_dims", "masked"), [(2, 1), (2, 3), (3, 2)])
def test_scans_are_drawn_in_training_and_evaluation(spatial_dims: int, masked: int) -> None:
    mixer = MaskedScanMixer(4, spatial_dims, masked=masked)
    count = 2 * mixer.order.num_paths
    for training in (True, False):
        drawn = [mixer.train(training).draw() for _ in range(60)]
        assert {len(kept) for kept in drawn} == {count - masked}
        assert {k for kept in drawn for k in kept} == set(range(count))
        assert len({tuple(kept) for kept in drawn}) > 2
    mixer.mask_inference = False
    assert mixer.eval().draw() == list(range(count))
    assert len(mixer.train().draw()) == count - masked


def test_how_many_scans_can_be_masked() -> None:
    with pytest.raises(ValueError, match="masked is 4: of 4 scans leave out .* at most 3"):
        MambaMIR(2, 1, dim=8, depths=[1], masked=4)
    assert MambaMIR(3, 1, dim=8, depths=[1], masked=4)(torch.rand(1, 1, 3, 4, 5)).isfinite().all()


def test_calls_differ_unless_they_are_seeded() -> None:
    torch.manual_seed(0)
    net, x = MambaMIR(2, 1, dim=8, depths=[2, 1]).eval(), torch.rand(1, 1, 6, 7)
    torch.manual_seed(1)
    first, second = net(x), net(x)
    torch.manual_seed(1)
    assert torch.equal(net(x), first)
    # two calls in five blocks agree by chance once in 4 ** 3
    assert not torch.equal(first, second)
    sure = MambaMIR(2, 1, dim=8, depths=[2, 1], mask_inference=False).eval()
    assert torch.equal(sure(x), sure(x))


def test_checkpoints_repeat_the_masks() -> None:
    found = []
    for use in (False, True):
        torch.manual_seed(0)
        net = MambaMIR(2, 1, dim=4, depths=[2], use_checkpoint=use).train()
        torch.manual_seed(2)
        net(torch.linspace(0, 1, 30).reshape(1, 1, 5, 6)).square().mean().backward()
        found.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(found[0], found[1], atol=1e-7, rtol=1e-4)


def test_monte_carlo_is_mean_and_deviation() -> None:
    torch.manual_seed(0)
    net, x = MambaMIR(2, 1, dim=8, depths=[2], masked=2).eval(), torch.rand(2, 1, 6, 7)
    torch.manual_seed(5)
    with torch.no_grad():
        calls = torch.stack([net(x) for _ in range(6)])
    before = torch.random.get_rng_state()
    mean, std = monte_carlo(net, x, passes=6, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(mean, calls.mean(0))
    torch.testing.assert_close(std, calls.std(0), atol=1e-7, rtol=1e-3)
    assert std.max() > 0 and not mean.requires_grad
    assert torch.equal(monte_carlo(net, x, passes=6, seed=5).mean, mean)
    assert not torch.equal(monte_carlo(net, x, passes=6, seed=6).mean, mean)


def test_monte_carlo_leaves_the_network_as_it_was() -> None:
    net = nn.Sequential(MambaMIR(2, 1, dim=8, depths=[1], mask_inference=False), nn.Dropout(0.9)).train()
    x = torch.rand(1, 1, 6, 7)
    mean, std = monte_carlo(net, x, passes=8)
    # scans are masked though the network would not, and nothing is dropped
    assert std.max() > 0 and mean.all()
    assert all(module.training for module in net.modules())
    assert torch.equal(net.eval()(x), net(x))
    with pytest.raises(ValueError, match="passes is 1"):
        monte_carlo(net, x, passes=1)
    with pytest.raises(ValueError, match="MambaIR masks no scan"):
        monte_carlo(MambaIR(2, 1, dim=8, depths=[1]), x)


def test_without_weights_the_image_comes_back() -> None:
    net = MambaMIR(2, 1, dim=8, depths=[1], patch_size=4)
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    x = torch.rand(1, 1, 9, 10)
    torch.testing.assert_close(net(x), x)


@pytest.mark.parametrize("size", [(8, 12), (5, 6, 7)], ids=str)
def test_what_was_measured_is_kept(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net, x = MambaMIR(len(size), 2, dim=8, depths=[1], patch_size=2).eval(), torch.randn(2, 2, *size)
    mask = torch.rand(1, 1, *size[:-1], size[-1]) < 0.4
    made, given = (fftn_centered_t(t.movedim(1, -1), len(size)) for t in (net(x, mask), x))
    torch.testing.assert_close(made[:, mask[0, 0]], given[:, mask[0, 0]], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made[:, ~mask[0, 0]], given[:, ~mask[0, 0]], atol=1e-2)


def test_one_even_coil_is_assumed() -> None:
    made, given = torch.randn(2, 1, 2, 5, 6)
    mask, maps = torch.rand(1, 1, 1, 6) < 0.5, torch.zeros(1, 1, 5, 6, 2)
    maps[..., 0] = 1
    torch.testing.assert_close(keep_measured(made, given, mask), keep_measured(made, given, mask, maps))
    with pytest.raises(ValueError, match=r"mask has shape \(1, 6\)"):
        keep_measured(made, given, mask[0, 0])
    with pytest.raises(ValueError, match="maps has shape"):
        keep_measured(made, given, mask, maps[..., 0])
    with pytest.raises(ValueError, match="1 channels to 1: data consistency needs 2 and 2"):
        MambaMIR(2, 1, dim=8, depths=[1])(torch.rand(1, 1, 5, 6), mask)
