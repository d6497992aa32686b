"""MambaDFuse against its equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.nets import MambaDFuse
from tests.networks.equations import State, conv, layer_norm, mamba, mamba_inner, part
from tests.networks.randomised import randomised


def mamba_stack(x: Tensor, s: State, depth: int) -> tuple[Tensor, Tensor]:
    """MambaDFuse's layers: what the last one gives, and the sum that it was given."""
    total = torch.zeros_like(x)
    for i in range(depth):
        total = total + x
        x = mamba(layer_norm(total, s, f"{i}.0"), part(s, f"{i}.1."))
    return x, total


def modal_fusion(fused: Tensor, second: Tensor, first: Tensor, s: State, times: int) -> Tensor:
    """MambaDFuse's M3 block on tokens."""
    given, m, total = [fused, second, first], part(s, "mixer."), 0
    for i, (name, projection) in enumerate((("", "in_proj"), ("_b", "in_proj_extra1"), ("_c", "in_proj_extra2"))):
        for _ in range(times):
            given[i] = layer_norm(given[i], s, f"norms.{i}")
        u, z = F.linear(given[i], m[f"{projection}.weight"]).movedim(-1, 1).chunk(2, 1)
        total = total + mamba_inner(u, z, {**m, "A_log_b": m["A_b_log"], "A_log_c": m["A_b_log"]}, name)
    return F.linear(total.movedim(1, -1), m["out_proj.weight"])


def mamba_dfuse(images: list[Tensor], s: State, depths: tuple[int, int, int, int], released: bool) -> Tensor:
    """MambaDFuse in the order of its authors' code."""
    depth, swaps, fusions, last = depths
    size = images[0].shape[2:]

    def tokens(x: Tensor) -> Tensor:
        return layer_norm(x.flatten(2).transpose(1, 2), s, "norm")

    def grid(x: Tensor) -> Tensor:
        return x.transpose(1, 2).unflatten(2, size)

    (a, sum_a), (b, sum_b) = (
        mamba_stack(
            tokens(F.leaky_relu(conv(F.leaky_relu(conv(x, s, "stem.0"), 0.2), s, "stem.1"), 0.2)),
            part(s, f"encoder.{i}."),
            depth,
        )
        for i, x in enumerate(images)
    )
    for i in range(swaps):
        sum_a, sum_b = sum_a + a, sum_b + b
        c, d = layer_norm(sum_a, s, f"swaps.0.{i}.0"), layer_norm(sum_b, s, f"swaps.1.{i}.0")
        e, f = c.clone(), d.clone()
        e[..., ::2], f[..., ::2] = d[..., ::2], c[..., ::2]
        a, b = mamba(e, part(s, f"swaps.0.{i}.1.")), mamba(f, part(s, f"swaps.1.{i}.1."))
    a, b = grid(a), grid(b)
    c = conv(torch.cat((a, b), 1), s, "joins.0") + a
    d = conv(torch.cat((b, c if released else a), 1), s, "joins.1") + b
    first, second, y, total = tokens(c), tokens(d), tokens((c + d) / 2), 0
    for i in range(fusions):
        block, total = part(s, f"fusions.{i}."), total + y
        mixed = grid(modal_fusion(total, second, first, block, 2 if released else 1))
        y = (conv(mixed, block, "conv", mixed.shape[1]) + mixed).flatten(2).transpose(1, 2)
    y = grid(mamba_stack(tokens(grid(y)), part(s, "reconstruction."), last)[0])
    y = F.leaky_relu(conv(F.leaky_relu(conv(y, s, "head.0"), 0.2), s, "head.1"), 0.2)
    return conv(y, s, "head.2")


@pytest.mark.parametrize("design", ["paper", "released"])
def test_mamba_dfuse_follows_its_equations(design: str) -> None:
    depths = (2, 2, 2, 1)
    net = randomised(MambaDFuse(2, 1, 8, *depths, design=design))
    images = [torch.randn(2, 1, 4, 6), torch.randn(2, 1, 4, 6)]
    expected = mamba_dfuse(images, net.state_dict(), depths, design == "released")
    torch.testing.assert_close(net(*images), expected, atol=1e-4, rtol=1e-4)


def test_fused_images_must_be_alike() -> None:
    net = MambaDFuse(3, 1, 4, 1, 1, 1, 1)
    assert net(torch.zeros(1, 1, 3, 4, 5), torch.zeros(1, 1, 3, 4, 5)).shape == (1, 1, 3, 4, 5)
    with pytest.raises(ValueError, match="make them alike"):
        net(torch.zeros(1, 1, 3, 4, 5), torch.zeros(1, 1, 3, 4, 4))
    with pytest.raises(ValueError, match="dim is 6: give a multiple of 4"):
        MambaDFuse(2, 1, 6)
