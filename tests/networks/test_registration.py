"""Rounds, inverse displacements and folds of the registration networks, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from monai.networks.blocks import Warp
from torch import Tensor

from medmamba_monai.metrics import FoldingMetric
from medmamba_monai.networks.nets import MambaMorph, VMambaMorph

NETWORKS = [
    pytest.param(kind, axes, given, id=f"{kind.__name__}-{axes}D")
    for kind, given in ((MambaMorph, {"levels": 1}), (VMambaMorph, {"depths": [1]}))
    for axes in (2, 3)
]
networks = pytest.mark.parametrize(("kind", "axes", "given"), NETWORKS)


def smooth(axes: int, size: int, seed: int) -> Tensor:
    """A random velocity of 2 voxels at most, made of slow sines, zero at the borders."""
    random = torch.Generator().manual_seed(seed)
    places = torch.arange(size) * torch.pi / (size - 1)
    waves = torch.stack([places.sin(), (2 * places).sin()])
    product = waves
    for _ in range(axes - 1):
        product = (product[:, None, ..., None] * waves.reshape(1, 2, *(1,) * (product.dim() - 1), size)).flatten(0, 1)
    velocity = torch.einsum("af,f...->a...", torch.randn(axes, len(product), generator=random), product)[None]
    return 2 * velocity / velocity.abs().amax()


def with_velocities(net: MambaMorph, velocities: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network find the given velocities, one a round."""
    turns: Iterator[Tensor] = iter(velocities)
    monkeypatch.setattr(net, "velocity", lambda moving, fixed: next(turns))


@networks
@pytest.mark.parametrize("rounds", [1, 3])
def test_there_and_back_is_the_identity(
    kind: type[MambaMorph], axes: int, given: dict[str, Any], rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = kind(axes, 1, dim=8, rounds=rounds, **given).eval()
    size = 40 if axes == 2 else 24
    velocities = [smooth(axes, size, seed) for seed in range(rounds)]
    x = torch.rand(1, 1, *(size,) * axes)
    with_velocities(net, velocities * 2, monkeypatch)
    _, ddf = net(x, x)
    back = net.inverse(x, x)
    warp = Warp(mode="bilinear", padding_mode="zeros")
    inner = (slice(None), slice(None), *(slice(4, -4),) * axes)
    assert ddf[inner].abs().amax() > 1
    for first, then in ((ddf, back), (back, ddf)):
        error = (warp(then, first) + first)[inner].abs()
        assert error.amax() < 0.1 * rounds and error.mean() < 0.01 * rounds
    # the check can fail: minus the displacement is not its inverse
    assert (warp(-ddf, ddf) + ddf)[inner].abs().amax() > 3 * (warp(back, ddf) + ddf)[inner].abs().amax()
    # smooth velocities fold nothing
    assert FoldingMetric()(ddf).item() == 0


@networks
def test_rounds_compose_with_monais_warp(kind: type[MambaMorph], axes: int, given: dict[str, Any]) -> None:
    torch.manual_seed(0)
    nets = [kind(axes, 1, dim=8, rounds=rounds, **given).eval() for rounds in (1, 2)]
    nets[1].load_state_dict(nets[0].state_dict())
    for net in nets:
        with torch.no_grad():
            net.head.weight.copy_(0.05 * torch.randn(net.head.weight.shape, generator=torch.Generator().manual_seed(1)))
    once, twice = nets
    moving, fixed = torch.rand(2, 1, 1, *(13,) * axes).unbind()
    with torch.no_grad():
        warp = Warp(mode="bilinear", padding_mode="zeros")
        moved, first = once(moving, fixed)
        _, then = once(moved, fixed)
        both = warp(first, then) + then
        torch.testing.assert_close(twice(moving, fixed), (warp(moving, both), both), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(both, first + then, atol=1e-3)
