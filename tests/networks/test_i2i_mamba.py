"""I2I-Mamba against its equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.blocks.translation import reflect_pad
from medmamba_monai.networks.nets import I2IMamba
from tests.networks.equations import State, batch_norm, conv, layer_norm, mamba, part
from tests.networks.randomised import randomised


def spiral_places(height: int, width: int) -> list[int]:
    """From the first corner along the borders to the centre, turning right where there is no new place ahead."""
    left, place, step, found = {(i, j) for i in range(height) for j in range(width)}, (0, -1), (0, 1), []
    while left:
        ahead = (place[0] + step[0], place[1] + step[1])
        if ahead not in left:
            step = (step[1], -step[0])
            continue
        place = ahead
        left.remove(place)
        found.append(place[0] * width + place[1])
    return found


def reflected(x: Tensor, s: State, name: str) -> Tensor:
    weight = s[f"{name}.conv.weight"]
    return F.conv2d(F.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect"), weight, s.get(f"{name}.conv.bias"))


def reflected_residual(x: Tensor, s: State) -> Tensor:
    y = F.relu(batch_norm(reflected(x, s, "conv1"), s, "norm1"))
    return x + batch_norm(reflected(y, s, "conv2"), s, "norm2")


def channel_mixed_block(x: Tensor, s: State) -> Tensor:
    """I2I-Mamba's block: both scans of a spiral, joined with the map, compressed by convolutions."""
    height, width = x.shape[2:]
    places, maps = spiral_places(height, width), []
    tokens = layer_norm(x.flatten(2).transpose(1, 2), s, "mixer.norm")
    for i, way in enumerate((places, places[::-1])):
        y = torch.empty_like(tokens)
        y[:, way] = mamba(tokens[:, way], part(s, f"mixer.mixers.{i}."))
        maps.append(y.transpose(1, 2).unflatten(2, (height, width)))
    x = torch.cat((x, conv(torch.cat(maps, 1), s, "mixer.project")), 1)
    y = F.relu(batch_norm(conv(x, s, "conv1"), s, "norm1"))
    y = F.relu(batch_norm(conv(y, s, "conv2"), s, "norm2") + batch_norm(conv(x, s, "skip"), s, "skip_norm"))
    return reflected_residual(y, part(s, "local."))


def test_i2i_mamba_follows_its_equations() -> None:
    net = randomised(I2IMamba(2, 2, 1, channels=4, blocks=3, mamba_blocks=[0, 2]))
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0))
    s, x = net.state_dict(), torch.randn(2, 2, 8, 12)
    high = F.relu(batch_norm(reflected(x, s, "encoder.0"), s, "encoder_norms.0"))
    middle = F.relu(batch_norm(conv(high, s, "encoder.1", stride=2), s, "encoder_norms.1"))
    low = F.relu(batch_norm(conv(middle, s, "encoder.2", stride=2), s, "encoder_norms.2"))
    y = channel_mixed_block(low, part(s, "bottleneck.0."))
    y = channel_mixed_block(reflected_residual(y, part(s, "bottleneck.1.")), part(s, "bottleneck.2."))
    for i, skip in enumerate((low, middle)):
        y = F.conv_transpose2d(torch.cat((y, skip), 1), s[f"ups.{i}.weight"], None, 2, 1, 1)
        y = F.relu(batch_norm(y, s, f"up_norms.{i}"))
    y = reflected(torch.cat((y, high), 1), s, "head").tanh()
    torch.testing.assert_close(net(x), y, atol=1e-4, rtol=1e-4)


def test_reflections_of_small_maps() -> None:
    x = torch.arange(3.0)[None, None, :, None].expand(1, 1, 3, 2)
    padded = reflect_pad(x, 3)
    assert padded[0, 0, :, 0].tolist() == [1, 2, 1, 0, 1, 2, 1, 0, 1]
    assert padded.shape == (1, 1, 9, 8)
    assert reflect_pad(torch.ones(1, 1, 1, 1), 2).tolist() == torch.ones(1, 1, 5, 5).tolist()


def test_translations_of_any_range_and_of_volumes() -> None:
    torch.manual_seed(0)
    given = {"channels": 2, "blocks": 1, "mamba_blocks": [0]}
    bounded, free = (I2IMamba(3, 1, 1, activation=name, **given).eval() for name in ("tanh", "none"))
    free.load_state_dict(bounded.state_dict())
    x = torch.randn(1, 1, 5, 6, 7)
    torch.testing.assert_close(bounded(x), free(x).tanh())
    with pytest.raises(ValueError, match="mamba_blocks is .1.: give numbers from 0 to 0"):
        I2IMamba(2, channels=2, blocks=1, mamba_blocks=[1])
