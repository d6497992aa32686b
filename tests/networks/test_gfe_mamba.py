"""GFE-Mamba and its generator against their equations, in the order of the authors' code."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.nets import GFEGenerator, GFEMamba
from tests.networks.equations import State, layer_norm, mamba, part
from tests.networks.randomised import randomised

SIZE, FOLD, SIDE, HEADS = (8, 4, 6), 2, 2, 2


def linear(x: Tensor, s: State, name: str) -> Tensor:
    return F.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


def residual(x: Tensor, s: State) -> Tensor:
    """A block of the U-Net: group norms in front of the convolutions."""
    x = F.conv3d(x, s["widen.weight"], s["widen.bias"]) if "widen.weight" in s else x
    groups, y = 8 if x.shape[1] >= 8 else 1, x
    for i in (1, 2):
        y = F.group_norm(y, groups, s[f"norm{i}.weight"], s[f"norm{i}.bias"])
        y = F.conv3d(y, s[f"conv{i}.weight"], padding=1)
        y = y.relu() if i == 1 else y
    return (x + y).relu()


def attention(x: Tensor, context: Tensor, s: State, heads: int) -> Tensor:
    q, k, v = linear(x, s, "query"), linear(context, s, "key"), linear(context, s, "value")
    width, found = q.shape[-1] // heads, []
    for i in range(heads):
        own = slice(i * width, (i + 1) * width)
        weights = (q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(width)).softmax(-1)
        found.append(weights @ v[..., own])
    return linear(torch.cat(found, -1), s, "proj")


def as_plane(x: Tensor) -> Tensor:
    """Place (a * inner + b, i, j) of a volume goes to row i * FOLD + a and column b * width + j."""
    depth, height, width = x.shape[2:]
    inner = depth // FOLD
    plane = x.new_empty(*x.shape[:2], height * FOLD, inner * width)
    for a in range(FOLD):
        for b in range(inner):
            plane[:, :, a::FOLD, b * width : (b + 1) * width] = x[:, :, a * inner + b]
    return plane


def as_volume(plane: Tensor, depth: int, width: int) -> Tensor:
    inner = depth // FOLD
    slices = [plane[:, :, a::FOLD, b * width : (b + 1) * width] for a in range(FOLD) for b in range(inner)]
    return torch.stack(slices, 2)


def transformer(plane: Tensor, s: State, depth: int) -> Tensor:
    """A vision transformer whose tokens become patches again."""
    rows, columns = plane.shape[2] // SIDE, plane.shape[3] // SIDE
    patches = [
        plane[:, :, i * SIDE : (i + 1) * SIDE, j * SIDE : (j + 1) * SIDE].permute(0, 2, 3, 1).flatten(1)
        for i in range(rows)
        for j in range(columns)
    ]
    x = layer_norm(linear(layer_norm(torch.stack(patches, 1), s, "embed.0"), s, "embed.1"), s, "embed.2")
    x = torch.cat((s["cls_token"].expand(len(x), 1, -1), x), 1) + s["positions"]
    for i in range(depth):
        layer = part(s, f"layers.{i}.")
        normed = layer_norm(x, layer, "norm1")
        x = x + attention(normed, normed, part(layer, "attention."), HEADS)
        x = x + linear(F.gelu(linear(layer_norm(x, layer, "norm2"), layer, "mlp.linear1")), layer, "mlp.linear2")
    x = layer_norm(layer_norm(x, s, f"layers.{depth}"), s, "norm")
    x = linear(x.transpose(1, 2), s, "places").transpose(1, 2)
    x = layer_norm(linear(x, s, "restore.0"), s, "restore.1")
    found = torch.empty_like(plane)
    for n in range(rows * columns):
        i, j = divmod(n, columns)
        patch = x[:, n].reshape(len(x), SIDE, SIDE, -1).permute(0, 3, 1, 2)
        found[:, :, i * SIDE : (i + 1) * SIDE, j * SIDE : (j + 1) * SIDE] = patch
    return found


def generated(x: Tensor, s: State, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    """The lowest map as a plane, what the transformer makes of it, and the result."""
    high = residual(x, part(s, "encoder.0."))
    low = residual(F.max_pool3d(high, 2), part(s, "encoder.1."))
    before = as_plane(low)
    after = transformer(before, part(s, "transformer."), depth)
    y = F.conv_transpose3d(as_volume(after, low.shape[2], low.shape[4]), s["ups.0.weight"], None, 2, 1)
    y = residual(high + F.interpolate(y, high.shape[2:]), part(s, "decoder.0."))
    return before, after, F.conv3d(y, s["head.weight"], s["head.bias"])


SMALL = {"fold": FOLD, "patch_size": SIDE, "dim": 6, "depth": 2, "heads": HEADS, "head_channels": 4, "mlp_dim": 10}


def test_the_generator_follows_its_equations() -> None:
    net = randomised(GFEGenerator(3, 1, 2, SIZE, [4, 8], **SMALL))
    x = torch.randn(2, 1, *SIZE)
    torch.testing.assert_close(net(x), generated(x, net.state_dict(), 2)[2], atol=1e-4, rtol=1e-4)
    # images of other sizes are resized to the network's and back
    x = torch.randn(1, 1, 5, 9, 7)
    made = generated(F.interpolate(x, SIZE, mode="trilinear"), net.state_dict(), 2)[2]
    expected = F.interpolate(made, x.shape[2:], mode="trilinear")
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


def test_the_classifier_follows_its_equations() -> None:
    net = randomised(GFEMamba(3, 1, 2, [3, 2], 2, SIZE, [4, 8], 1, 2, 2, HEADS, generator=SMALL))
    s, x = net.state_dict(), torch.randn(2, 1, *SIZE)
    columns, numbers = torch.tensor([[2, 0], [1, 1]]), torch.randn(2, 2)
    before, after, made = generated(x, part(s, "generator."), 2)
    summary = linear(torch.cat((before, after), 1).flatten(2), s, "summary").transpose(1, 2)
    table = s["category_tokens.weight"]
    words = torch.stack([torch.stack((table[row[0]], table[3 + row[1]])) for row in columns])
    scaled = numbers[:, :, None] * s["number_weight"] + s["number_bias"]
    y = torch.cat((s["cls_token"].expand(2, 1, -1), words, scaled, summary), 1)
    for i in range(2):
        layer = part(s, f"mixers.{i}.")
        normed = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer["norm.weight"]
        y = y + mamba(normed, part(layer, "mamba."))
    y = y.mean(1, keepdim=True)
    slices = torch.cat((x[:, 0], made[:, 0]), 3).flatten(1, 2).transpose(1, 2)
    y = y + attention(y, slices, part(s, "attention."), HEADS)
    u, v = linear(layer_norm(y, s, "feed_forward.0"), s, "feed_forward.1").chunk(2, -1)
    y = (y + linear(u * F.gelu(v), s, "feed_forward.4"))[:, 0]
    expected = linear(layer_norm(y, s, "head.0"), s, "head.1")
    torch.testing.assert_close(net(x, columns, numbers), expected, atol=1e-4, rtol=1e-4)


def test_a_frozen_generator_is_left_as_it_was_trained() -> None:
    net = GFEMamba(3, 1, 1, [2], 0, SIZE, [4, 8], 1, 2, 1, HEADS, generator=SMALL).train()
    net.generator.load_state_dict(GFEGenerator(3, 1, 1, SIZE, [4, 8], **SMALL).state_dict())
    net.freeze_encoder()
    net(torch.randn(2, 1, *SIZE), torch.tensor([[0], [1]]), torch.empty(2, 0)).sum().backward()
    assert all(p.grad is None for p in net.generator.parameters())
    assert all(p.grad is not None for key, p in net.named_parameters() if not key.startswith(("generator.", "number")))
    assert not net.generator.training and net.attention.training


def test_tables_must_fit() -> None:
    net = GFEMamba(3, 1, 1, [3, 2], 1, SIZE, [4, 8], 1, 2, 1, HEADS, generator=SMALL)
    x, columns, numbers = torch.zeros(2, 1, *SIZE), torch.zeros(2, 2, dtype=torch.long), torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"categories has shape \(2, 1\): give 2 columns for each of 2 images"):
        net(x, columns[:, :1], numbers)
    with pytest.raises(ValueError, match=r"numbers has shape \(1, 1\): give 1 columns for each of 2"):
        net(x, columns, numbers[:1])
    with pytest.raises(ValueError, match=r"columns \[1\] of categories hold values outside 0 to \[1\]"):
        net(x, columns + 2, numbers)
    for wrong, message in (
        ({"numbers": 0}, "a table of at least one column"),
        ({"img_size": (8, 4, 5)}, "multiples of 2"),
        ({"heads": 3}, "heads is 3: give a number that divides 16"),
        ({"features": [4, 12]}, "multiples of 8"),
        ({"generator": {**SMALL, "fold": 3}}, "fold is 3: give a number that divides 4"),
        ({"generator": {**SMALL, "patch_size": 5}}, r"patch_size is 5: give one that divides \(4, 6\)"),
    ):
        given = {"img_size": SIZE, "features": [4, 8], "heads": HEADS, "generator": SMALL, **wrong}
        with pytest.raises(ValueError, match=message):
            GFEMamba(3, 1, **given)
