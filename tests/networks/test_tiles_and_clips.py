"""Vim4Path's tokens and positions, and Vivim's edges, against their equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from medmamba_monai.networks.nets import Vim4Path, Vivim
from medmamba_monai.weights import convert
from tests.networks import equations
from tests.networks.equations import State, part
from tests.oracles.adapters import load


def two_ways(x: Tensor, s: State) -> Tensor:
    """Vim's layer: the mean of a Mamba that reads forwards and one that reads backwards."""
    s = {**s, "A_log_b": s["A_b_log"], "D_b": s["D_b"]}
    u, z = F.linear(x, s["in_proj.weight"]).movedim(-1, 1).chunk(2, 1)
    backwards = equations.mamba_inner(u.flip(-1), z.flip(-1), s, "_b").flip(-1)
    mixed = (equations.mamba_inner(u, z, s) + backwards) / 2
    return F.linear(mixed.movedim(1, -1), s["out_proj.weight"])


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def features(x: Tensor, s: State, depth: int, released: bool) -> Tensor:
    """The class token behind the last norm; patches of 4, positions learned on a grid of 4 x 4."""
    maps = F.conv2d(x, s["patch_embed.proj.weight"], s["patch_embed.proj.bias"], 4)
    h, w = maps.shape[2:]
    table = s["pos_embed"][:, 1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    if (h, w) != (4, 4):
        how = {"scale_factor": ((h + 0.1) / 4, (w + 0.1) / 4)} if released else {"size": (h, w)}
        table = F.interpolate(table, mode="bicubic", **how)
    tokens = (maps + table).flatten(2).transpose(1, 2)
    cls = s["cls_token"].expand(len(x), 1, -1)
    placed = cls + s["pos_embed"][:, :1]
    tokens = torch.cat((placed, tokens), 1) if released else tokens
    middle = tokens.shape[1] // 2
    y = torch.cat((tokens[:, :middle], cls if released else placed, tokens[:, middle:]), 1)
    residual = torch.zeros(())
    for i in range(depth):
        residual = residual + y
        y = two_ways(rms(residual, s[f"layers.{i}.norm.weight"]), part(s, f"layers.{i}.mixer."))
    return rms(residual + y, s["norm_f.weight"])[:, middle]


@pytest.mark.parametrize("design", ["paper", "released"])
@pytest.mark.parametrize("size", [(16, 16), (24, 12)])
def test_features_of_tiles(design: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = Vim4Path(2, 2, img_size=16, patch_size=4, dim=6, depth=2, design=design, d_state=2).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.5 * torch.randn_like(p))
    own = net.state_dict()
    state = {key.replace("mixers.", "layers.", 1): value for key, value in own.items() if key.startswith("mixers.")}
    state = {f"layers.{key.split('.')[1]}.mixer.{key.split('.', 2)[2]}": value for key, value in state.items()}
    state |= {f"layers.{i}.norm.weight": own[f"norms.{i}.weight"] for i in range(2)}
    state |= {"norm_f.weight": own["norm.weight"], "pos_embed": own["pos_embed"], "cls_token": own["cls_token"]}
    state |= {f"patch_embed.proj.{key}": own[f"patch_embed.{key}"] for key in ("weight", "bias")}
    fresh = Vim4Path(2, 2, img_size=16, patch_size=4, dim=6, depth=2, design=design, d_state=2).eval()
    # the authors' encoder holds a head that it does not use
    load(fresh, {**state, "head.weight": torch.zeros(2, 6), "head.bias": torch.zeros(2)})
    x = torch.randn(2, 2, *size)
    with torch.no_grad():
        expected = features(x, state, 2, design == "released")
        torch.testing.assert_close(fresh(x), expected, atol=1e-5, rtol=1e-4)
        other = Vim4Path(2, 2, img_size=16, patch_size=4, dim=6, depth=2, d_state=2).eval()
        other.load_state_dict(own)
        assert torch.allclose(other(x), expected, atol=1e-4) is (design == "paper")


def test_tiles_are_images() -> None:
    with pytest.raises(ValueError, match="spatial_dims is 3"):
        Vim4Path(3)
    with pytest.raises(ValueError, match="design is 'both'"):
        Vim4Path(design="both")


def small_vivim(**given: object) -> Vivim:
    sizes = {"dims": [4, 8], "depths": [1, 1], "mamba_depths": [1, 1], "heads": [1, 2], "reductions": [2, 1]}
    torch.manual_seed(0)
    return Vivim(3, 1, 2, decoder_dim=4, **sizes, **given).eval()


def test_edges_come_from_the_first_stage() -> None:
    net, clip = small_vivim(edges=True), torch.randn(2, 1, 3, 16, 24)
    first: list[Tensor] = []
    net.mixers[0].register_forward_hook(lambda _, __, y: first.append(y))
    with torch.no_grad():
        logits, edges = net(clip)
        plain = small_vivim()
        plain.load_state_dict({key: value for key, value in net.state_dict().items() if "edge" not in key})
        torch.testing.assert_close(plain(clip), logits)
        weight, bias = net.edge_head.weight, net.edge_head.bias
        for t in range(3):
            small = F.conv2d(first[0][:, :, t], weight, bias)
            wanted = F.interpolate(small, size=(16, 24), mode="bilinear", align_corners=False)
            torch.testing.assert_close(edges[:, :, t], wanted, atol=1e-5, rtol=1e-5)


def test_edges_in_windows() -> None:
    net = small_vivim(edges=True)
    with torch.no_grad():
        logits, edges = SlidingWindowInferer((2, 16, 16))(torch.randn(1, 1, 3, 20, 16), net)
    assert logits.shape == (1, 2, 3, 20, 16) and edges.shape == (1, 1, 3, 20, 16)


def test_the_authors_name_of_the_edges() -> None:
    net = small_vivim(edges=True)
    state = {key.replace("edge_head.", "edgeocr_cls_head."): value for key, value in net.state_dict().items()}
    assert set(convert(state, net)) == set(net.state_dict())
