"""HyMamba and MambaMIM against their equations, and what hidden patches may not do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.losses import MaskedImageLoss
from medmamba_monai.networks.blocks.hy_mamba import interpolate_states
from medmamba_monai.networks.blocks.registration import sinusoidal_positions
from medmamba_monai.networks.nets import HyMamba, MambaMIM
from tests.networks.equations import State, layer_norm, mamba, part

SMALL = {"channels": [2, 4, 6], "depths": [1, 2], "ratios": [2, 3], "mamba_depth": 2, "d_state": 2}


def randomised(net: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=random))
    return net.eval()


def shown(x: Tensor, visible: Tensor) -> Tensor:
    scale = x.shape[2] // visible.shape[2]
    return x * visible.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def conv(x: Tensor, s: State, name: str, visible: Tensor, groups: int = 1) -> Tensor:
    """A convolution, its norm where it has one, and zeros where patches are hidden."""
    weight = s[f"{name}.conv.weight"]
    y = F.conv2d(x, weight, s[f"{name}.conv.bias"], padding=weight.shape[-1] // 2, groups=groups)
    if f"{name}.norm.weight" in s:
        y = layer_norm(y.movedim(1, -1), s, f"{name}.norm", 1e-6).movedim(-1, 1)
    return shown(y, visible)


def residual(x: Tensor, s: State, visible: Tensor) -> Tensor:
    y = conv(F.leaky_relu(conv(x, s, "first", visible), 0.01), s, "second", visible)
    short = conv(x, s, "shortcut", visible) if "shortcut.conv.weight" in s else x
    return F.leaky_relu(y + short, 0.01)


def encoded(x: Tensor, s: State, visible: Tensor, first_skip: bool) -> list[Tensor]:
    """The encoder on one image of two levels below its own resolution."""
    y, maps = conv(x, s, "stem", visible), []
    for i, depth in enumerate(SMALL["depths"]):
        y = conv(y, s, f"widen.{i}", visible)
        if first_skip or i:
            maps.append(residual(y, part(s, f"skips.{i}."), visible))
        y = shown(F.max_pool2d(y, 2), visible)
        for k in range(depth):
            block = part(s, f"levels.{i}.{k}.")
            middle = conv(conv(y, block, "depthwise", visible, y.shape[1]), block, "widen", visible)
            y = y + conv(F.gelu(middle), block, "narrow", visible)
    grid = y.permute(0, 2, 3, 1)
    tokens = (grid + sinusoidal_positions(grid.shape[1:-1], grid)).flatten(1, 2)
    seen = visible.flatten().bool()
    z = tokens[:, seen]
    for i in range(SMALL["mamba_depth"]):
        block = part(s, f"blocks.{i}.")
        z = z + mamba(layer_norm(z, block, "norm1"), part(block, "mamba."))
        hidden = F.gelu(F.linear(layer_norm(z, block, "norm2"), block["fc1.weight"], block["fc1.bias"]))
        z = z + F.linear(hidden, block["fc2.weight"], block["fc2.bias"])
    if seen.all():
        mixed = z
    else:
        mixed = s["mask_token"].expand(tokens.shape).clone()
        mixed[:, seen] = z
    return [*maps, mixed.transpose(1, 2).reshape(y.shape)]


def gaps_filled(x: Tensor, visible: Tensor, A: Tensor) -> Tensor:
    """The definition for one sequence (L, C), gap by gap."""
    flags = visible.clone()
    flags[0] = flags[-1] = True
    ends, filled = flags.nonzero().flatten().tolist(), torch.zeros_like(x)
    for i, j in zip(ends, ends[1:], strict=False):
        total = torch.zeros_like(x[0])
        for m, alpha in zip(range(i, j), torch.linspace(0, 1, j - i), strict=True):
            total = total + torch.linalg.matrix_power(A, j - 1 - m) @ ((1 - alpha) * x[i] + alpha * x[j])
            filled[m] = total
    filled[ends[-1]] = A @ x[ends[-1]]
    return filled


@pytest.mark.parametrize("length", [1, 2, 7, 23])
def test_gaps_are_filled_by_definition(length: int) -> None:
    torch.manual_seed(0)
    x, visible, A = torch.randn(3, length, 4), torch.rand(3, length) < 0.3, 0.4 * torch.randn(4, 4)
    expected = torch.stack([gaps_filled(*sample, A) for sample in zip(x, visible, strict=True)])
    torch.testing.assert_close(interpolate_states(x, visible, A), expected, atol=1e-5, rtol=1e-5)
    # hidden tokens themselves are not looked at
    inside = ~visible
    inside[:, [0, -1]] = False
    other = torch.where(inside[..., None], torch.full_like(x, 9.0), x)
    torch.testing.assert_close(interpolate_states(other, visible, A), expected, atol=1e-5, rtol=1e-5)


def test_segmentation_follows_the_equations() -> None:
    net, x = randomised(HyMamba(2, 2, 3, **SMALL)), torch.randn(2, 2, 8, 12)
    s = net.state_dict()
    *skips, y = encoded(x, part(s, "encoder."), torch.ones(1, 1, 2, 3), first_skip=True)
    for i, skip in enumerate(reversed(skips)):
        up = F.conv_transpose2d(y, s[f"ups.{i}.up.weight"], stride=2)
        y = net.ups[i].block(torch.cat((up, skip), 1))
    y = residual(y, part(s, "last."), torch.ones(1, 1, 2, 3))
    with torch.no_grad():
        expected = F.conv2d(y, s["head.weight"], s["head.bias"])
        torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


def twice(x: Tensor, s: State) -> Tensor:
    for i in (0, 4):
        x = F.conv2d(x, s[f"{i}.weight"], s[f"{i}.bias"], padding=1)
        norm = part(s, f"{i + 2}.")
        x = F.relu(F.batch_norm(x, norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"]))
    return x


def test_painting_follows_the_equations() -> None:
    net, x = randomised(MambaMIM(2, 2, decoder_dim=8, **SMALL)), torch.randn(1, 2, 12, 16)
    visible = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]])[None, None].float()
    hidden = (1 - visible).repeat_interleave(4, 2).repeat_interleave(4, 3)
    s = net.state_dict()
    maps = encoded(shown(x, visible), part(s, "encoder."), visible, first_skip=False)[::-1]
    tokens = gaps_filled(maps[0][0].flatten(1).T, visible.flatten().bool(), s["interpolation"])
    fills = [tokens.T.reshape(maps[0].shape), s["fills.0"].reshape(1, -1, 1, 1)]
    y = torch.zeros(())
    for i, (found, fill) in enumerate(zip(maps, fills, strict=True)):
        given = found * shown(torch.ones_like(found), visible) + fill * (1 - shown(torch.ones_like(found), visible))
        given = F.conv2d(given, s[f"projections.{i}.weight"], s[f"projections.{i}.bias"], padding=i)
        y = twice(torch.cat((y, given), 1), part(s, f"fuses.{i - 1}.")) if i else given
        y = F.conv_transpose2d(y, s[f"ups.{i}.weight"], s[f"ups.{i}.bias"], 2)
        y = twice(y, part(s, f"doubles.{i}."))
    expected = F.conv2d(y, s["head.weight"], s["head.bias"])
    with torch.no_grad():
        torch.testing.assert_close(net(x, hidden), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("axes", [2, 3])
def test_hidden_voxels_are_not_looked_at(axes: int) -> None:
    torch.manual_seed(0)
    net, x = randomised(MambaMIM(axes, 1, decoder_dim=8, **SMALL)), torch.randn(2, 1, *(14, 9, 11)[:axes])
    hidden = net.draw(x, 0.6)
    count = torch.Size([-(-n // 4) for n in x.shape[2:]]).numel()
    assert 0.3 < hidden.mean() < 0.8 and hidden.shape == x.shape
    assert set(hidden.unique().tolist()) == {0.0, 1.0} and count > 3
    with torch.no_grad():
        y = net(x, hidden)
        assert torch.equal(net(torch.where(hidden > 0, torch.randn_like(x), x), hidden), y)
        assert not torch.allclose(net(torch.where(hidden > 0, x, torch.randn_like(x)), hidden), y, atol=1e-3)


def test_the_encoder_goes_over() -> None:
    mim, net = randomised(MambaMIM(2, 1, decoder_dim=8, **SMALL)), HyMamba(2, 1, 2, **SMALL).eval()
    found = net.encoder.load_state_dict(mim.encoder.state_dict(), strict=False)
    assert all(key.startswith("skips.0.") for key in found.missing_keys)
    assert found.unexpected_keys == ["mask_token"]


def test_training_paints_what_is_hidden() -> None:
    torch.manual_seed(0)
    net, loss = MambaMIM(2, 1, decoder_dim=16, **SMALL), MaskedImageLoss(4)
    optimizer, losses = torch.optim.Adam(net.parameters(), 0.02), []
    x = torch.arange(16.0)[:, None].expand(4, 1, 16, 16).sin()
    for _ in range(20):
        hidden = net.draw(x, 0.5)
        found = loss(net(x, hidden), torch.cat((x, hidden), 1))
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        losses.append(found.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_wrong_masks() -> None:
    net, x = MambaMIM(2, 1, decoder_dim=8, **SMALL), torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="mask has shape"):
        net(x, torch.zeros(2, 1, 2, 2))
    uneven = torch.zeros(2, 1, 8, 8)
    uneven[0, 0, 0, 0] = 1
    with pytest.raises(ValueError, match=r"show \[3, 4\] patches"):
        net(x, uneven)
    with pytest.raises(ValueError, match="hides all"):
        net(x, torch.ones(2, 1, 8, 8))
    with pytest.raises(ValueError, match="ratio is 1"):
        net.draw(x, 1)
    with pytest.raises(ValueError, match="decoder_dim is 6: it must be divisible by 4"):
        MambaMIM(2, 1, decoder_dim=6, **SMALL)
    with pytest.raises(ValueError, match="depths has 1 entries"):
        HyMamba(2, 1, 2, channels=[2, 4, 6], depths=[1], ratios=[1, 1])
