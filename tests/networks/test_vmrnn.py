"""VMRNN's cells and networks against their equations, written once more."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.blocks.recurrent import PatchInflate, VMRNNCell
from medmamba_monai.networks.nets import VMRNN
from tests.networks import equations
from tests.networks.equations import State, layer_norm, part

SMALL = {"dim": 8, "d_state": 2, "drop_path_rate": 0.5}


def mixed(x: Tensor, s: State) -> Tensor:
    """SS2D with the names of VMamba's code."""
    s = {key.replace("conv.", "conv2d."): value for key, value in s.items()}
    y, gate = equations.ss2d(x, s)
    return F.linear(y * gate, s["out_proj.weight"])


def cell(x: Tensor, h: Tensor, c: Tensor, s: State) -> tuple[Tensor, Tensor]:
    first = part(s, "blocks.first.")
    joined = torch.cat((layer_norm(x, first, "norm"), layer_norm(h, first, "norm")), -1)
    o = x + mixed(F.linear(joined, first["join.weight"], first["join.bias"]), part(first, "mixer."))
    for i in range(len({key.split(".")[2] for key in s if key.startswith("blocks.others.")})):
        block = part(s, f"blocks.others.{i}.")
        o = o + mixed(layer_norm(o, block, "norm"), part(block, "mixer."))
    c = o.sigmoid() * (c + o.tanh())
    return o.sigmoid() * c.tanh(), c


def merged(x: Tensor, s: State) -> Tensor:
    parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return F.linear(layer_norm(torch.cat(parts, -1), s, "norm"), s["reduction.weight"])


def expanded(x: Tensor, s: State) -> Tensor:
    y = F.linear(x, s["expand.weight"]).unflatten(-1, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5)
    return layer_norm(y.reshape(len(x), 2 * x.shape[1], 2 * x.shape[2], -1), s, "norm")


def inflated(x: Tensor, s: State, doubles: int) -> Tensor:
    y = x.movedim(-1, 1)
    for i in range(doubles):
        up = part(s, f"doubles.{i}.")
        y = F.conv_transpose2d(y, up["0.weight"], up["0.bias"], 2, 1, 1)
        y = F.leaky_relu(F.group_norm(y, 16, up["2.weight"], up["2.bias"]), 0.2)
    return F.conv_transpose2d(y, s["last.weight"], s["last.bias"], 2, 1, 1).sigmoid()


def step(frame: Tensor, states: list[tuple[Tensor, Tensor]], s: State, deep: bool, patch: int) -> Tensor:
    """One frame through the network; the states are replaced in their list."""
    y = F.conv2d(frame, s["patch_embed.proj.weight"], s["patch_embed.proj.bias"], patch).movedim(1, -1)
    y = layer_norm(y, s, "patch_embed.norm")
    for i in range(len(states)):
        way, place = ("encoder", i) if not deep or i < len(states) // 2 else ("decoder", i - len(states) // 2)
        before = states[i] or (torch.zeros_like(y), torch.zeros_like(y))
        states[i] = cell(y, *before, part(s, f"{way}.{place}."))
        y = states[i][0]
        if deep:
            y = (
                merged(y, part(s, f"merges.{place}."))
                if way == "encoder"
                else expanded(y, part(s, f"expands.{place}."))
            )
    return inflated(y, part(s, "inflate."), patch // 4)


@pytest.mark.parametrize(
    ("design", "given"),
    [
        ("basic", {"depths": [2, 1]}),
        ("basic", {"depths": [1], "patch_size": 4, "dim": 16}),
        ("deep", {"depths": [1, 2], "depths_decoder": [1, 1]}),
    ],
)
def test_predictions_follow_the_equations(design: str, given: dict[str, object]) -> None:
    torch.manual_seed(0)
    net = VMRNN(3, 2, 2, design, **{**SMALL, **given}).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    s, clip = net.state_dict(), torch.rand(2, 2, 3, 16, 8)
    states: list = [None] * (len(net.encoder) + len(net.decoder))
    wanted = [step(clip[:, :, t], states, s, design == "deep", net.patch_embed.patch_size) for t in range(2)]
    frame = clip[:, :, 2]
    for _ in range(2):
        frame = step(frame, states, s, design == "deep", net.patch_embed.patch_size)
        wanted.append(frame)
    with torch.no_grad():
        torch.testing.assert_close(net(clip), torch.stack(wanted, 2), atol=1e-5, rtol=1e-4)


def test_a_clip_frame_by_frame() -> None:
    net = VMRNN(3, 1, 2, depths=[1], **SMALL).eval()
    clip, states = torch.rand(1, 1, 3, 5, 7), None
    predictions = net(clip)
    for t in range(3):
        frame, states = net.step(clip[:, :, t], states)
        torch.testing.assert_close(frame, predictions[:, :, t])


def test_the_cell_remembers() -> None:
    torch.manual_seed(0)
    cell = VMRNNCell(2, 8, [0.0]).eval()
    x = torch.randn(1, 4, 4, 8)
    h, c = cell(x)
    again, _ = cell(x, (h, c))
    assert not torch.allclose(h, again, atol=1e-3)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="depths_decoder is given"):
        VMRNN(3, 1, depths_decoder=[1])
    with pytest.raises(ValueError, match="depths is empty"):
        VMRNN(3, 1, depths=[])
    with pytest.raises(ValueError, match="dim is 8.*16"):
        PatchInflate(2, 8, 1, 4)
    with pytest.raises(ValueError, match="patch_size is 3"):
        VMRNN(3, 1, patch_size=3)
