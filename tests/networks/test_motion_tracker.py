"""The tracker's head against its equations, and what it learns from the history."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.blocks.registration import sinusoidal_positions
from medmamba_monai.networks.nets import MotionHistoryTracker
from tests.networks.equations import State, layer_norm, part
from tests.networks.test_tiles_and_clips import two_ways


def linear(x: Tensor, s: State, name: str) -> Tensor:
    return F.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


def found(x: Tensor, history: Tensor, s: State, heads: int) -> tuple[Tensor, Tensor]:
    steps = torch.zeros_like(history)
    for t in range(1, history.shape[1]):
        steps[:, t] = history[:, t] - history[:, t - 1]
    motion = linear(torch.cat((history, steps), -1), s, "embed")
    for i in range(2):
        motion = motion + two_ways(layer_norm(motion, s, f"norms.{i}"), part(s, f"mixers.{i}."))
    motion = layer_norm(motion, s, "motion_norm")
    h, w = x.shape[2:]
    y = F.conv2d(x, s["project.weight"], s["project.bias"]).permute(0, 2, 3, 1)
    y = (y + sinusoidal_positions((h, w), y)).reshape(len(x), h * w, -1)
    normed, width = layer_norm(y, s, "map_norm"), y.shape[-1] // heads
    query, key, value = linear(normed, s, "query"), linear(motion, s, "key"), linear(motion, s, "value")
    taken = []
    for i in range(heads):
        own = slice(i * width, (i + 1) * width)
        weights = (query[..., own] @ key[..., own].transpose(1, 2) / width**0.5).softmax(-1)
        taken.append(weights @ value[..., own])
    y = y + linear(torch.cat(taken, -1), s, "out")
    logits = linear(layer_norm(y, s, "out_norm"), s, "head").squeeze(-1)
    chances = logits.softmax(-1).reshape(len(x), h, w)
    rows, columns = (torch.arange(n) + 0.5 for n in (h, w))
    place = torch.stack([chances.sum(2) @ rows / h, chances.sum(1) @ columns / w], -1)
    return logits.reshape(len(x), 1, h, w), place


def test_numbers_follow_the_equations() -> None:
    torch.manual_seed(0)
    net = MotionHistoryTracker(2, 3, dim=8, depth=2, heads=2, d_state=2).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.5 * torch.randn_like(p))
        x, history = torch.randn(2, 3, 4, 5), torch.rand(2, 6, 2)
        torch.testing.assert_close(net(x, history), found(x, history, net.state_dict(), 2), atol=1e-5, rtol=1e-4)


def test_an_occluded_target_is_found_by_its_motion() -> None:
    torch.manual_seed(0)
    net = MotionHistoryTracker(2, 1, dim=16, depth=1, heads=2, d_state=4)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    blank, times = torch.zeros(16, 1, 6, 6), torch.arange(5.0)[:, None]
    losses = []
    for _ in range(60):
        # targets on straight lines: the map shows nothing, so that only the history tells where they are next
        start, move = torch.rand(16, 1, 2) * 0.4 + 0.3, (torch.rand(16, 1, 2) - 0.5) * 0.12
        path = start + move * times
        loss = F.mse_loss(net(blank, path[:, :4])[1], path[:, 4])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])


def test_wrong_histories() -> None:
    net, x = MotionHistoryTracker(3, 2, dim=8, depth=1, heads=2), torch.zeros(2, 2, 3, 3, 3)
    with pytest.raises(ValueError, match=r"history has shape .2, 4, 2.: give .2, frames, 3."):
        net(x, torch.zeros(2, 4, 2))
    with pytest.raises(TypeError, match="history has dtype torch.int64"):
        net(x, torch.zeros(2, 4, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="heads is 3"):
        MotionHistoryTracker(dim=8, heads=3)
