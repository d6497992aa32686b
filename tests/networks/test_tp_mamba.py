"""TP-Mamba's adapters, additions and network against their equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import ViT
from torch import Tensor, nn

from medmamba_monai.networks.blocks.adapters import PLANES, LowRankQKV, PlaneAdapter
from medmamba_monai.networks.nets import TPMamba
from tests.networks.equations import State, layer_norm, mamba, part

SMALL = {"img_size": 16, "patch_size": 8, "hidden_size": 8, "mlp_dim": 12, "num_layers": 3, "num_heads": 2}
SMALL |= {"rank": 2, "features": 4, "d_state": 2}


def randomised(net: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=random))
    return net.eval()


def adapted(x: Tensor, s: State, plane: str) -> Tensor:
    """The adapter on (B, D, H, W, C), one sequence after the other."""
    y = F.linear(x, s["down.weight"])
    mixed = torch.empty_like(y)
    samples, slices, rows = x.shape[:3]
    for b in range(samples):
        if plane == "volume":
            places = [(b, slice(None), slice(None))]
        elif plane == "slices":
            places = [(b, d, slice(None)) for d in range(slices)]
        else:
            places = [(b, slice(None), h) for h in range(rows)]
        for place in places:
            line = y[place]
            mixed[place] = mamba(line.reshape(1, -1, y.shape[-1]), part(s, "mamba.")).reshape(line.shape)
    return x + F.linear(F.gelu(layer_norm(mixed, s, "norm")), s["up.weight"])


@pytest.mark.parametrize("plane", PLANES)
def test_adapters_read_their_planes(plane: str) -> None:
    adapter, x = randomised(PlaneAdapter(8, plane, d_state=2)), torch.randn(2, 3, 2, 4, 8)
    with torch.no_grad():
        torch.testing.assert_close(adapter(x), adapted(x, adapter.state_dict(), plane), atol=1e-5, rtol=1e-4)
        # what happens in the last slice reaches the first one only by the whole volume or its planes across slices
        changed = x.clone()
        changed[:, 0] += 1
        moved = (adapter(changed) - adapter(x))[:, 2].abs().amax() > 1e-6
        assert bool(moved) is (plane != "slices")


def test_additions_go_to_queries_and_values() -> None:
    linear, x = nn.Linear(6, 18), torch.randn(2, 5, 6)
    plain, adapted = linear(x), LowRankQKV(linear, 2)
    torch.testing.assert_close(adapted(x), plain)
    for name, start in (("query", 0), ("value", 12)):
        nn.init.normal_(getattr(adapted, f"{name}_up").weight)
        s = {key.removeprefix(f"{name}_"): value for key, value in adapted.state_dict().items()}
        plain = plain.clone()
        plain[..., start : start + 6] += F.linear(F.gelu(F.linear(x, s["down.weight"])), s["up.weight"])
        torch.testing.assert_close(adapted(x), plain)


def attended(x: Tensor, s: State, heads: int) -> Tensor:
    """One layer of a vision transformer on the tokens of a slice."""
    y = layer_norm(x, s, "norm1")
    q, k, v = F.linear(y, s["attn.qkv.weight"], s["attn.qkv.bias"]).chunk(3, -1)
    for part_, name in ((q, "query"), (v, "value")):
        part_ += F.linear(F.gelu(F.linear(y, s[f"attn.qkv.{name}_down.weight"])), s[f"attn.qkv.{name}_up.weight"])
    width, mixed = x.shape[-1] // heads, []
    for i in range(heads):
        own = slice(i * width, (i + 1) * width)
        mixed.append((q[..., own] @ k[..., own].transpose(1, 2) / width**0.5).softmax(-1) @ v[..., own])
    x = x + F.linear(torch.cat(mixed, -1), s["attn.out_proj.weight"], s["attn.out_proj.bias"])
    hidden = F.gelu(F.linear(layer_norm(x, s, "norm2"), s["mlp.linear1.weight"], s["mlp.linear1.bias"]))
    return x + F.linear(hidden, s["mlp.linear2.weight"], s["mlp.linear2.bias"])


def doubled(x: Tensor, s: State) -> Tensor:
    y = F.conv_transpose3d(x, s["up.weight"], s["up.bias"], (1, 2, 2), 1, (0, 1, 1))
    y = F.gelu(F.instance_norm(y))
    return y + F.gelu(F.instance_norm(F.conv3d(y, s["conv.0.weight"], s["conv.0.bias"], padding=1)))


def segmented(x: Tensor, s: State) -> Tensor:
    """The whole network for slices of 16 x 16 magnified twice to a grid of 4 x 4, positions learned for 2 x 2."""
    batch, _, slices = x.shape[:3]
    large = F.interpolate(x, scale_factor=(1, 2, 2), mode="trilinear", align_corners=False)
    flat = large.transpose(1, 2).flatten(0, 1)
    embedding = part(s, "encoder.patch_embedding.")
    y = F.conv2d(flat, embedding["patch_embeddings.weight"], embedding["patch_embeddings.bias"], 8)
    table = embedding["position_embeddings"].reshape(1, 2, 2, -1).permute(0, 3, 1, 2)
    y = (y + F.interpolate(table, size=(4, 4), mode="bilinear")).flatten(2).transpose(1, 2)
    maps = []
    for i, plane in enumerate(("slices", "rows", "volume")):
        y = attended(y, part(s, f"encoder.blocks.{i}."), 2)
        volume = adapted(y.reshape(batch, slices, 4, 4, -1), part(s, f"adapters.{i}."), plane)
        maps.append(doubled(volume.permute(0, 4, 1, 2, 3), part(s, f"ups.{i}.")))
        y = volume.reshape(y.shape)
    y = torch.cat(maps, 1)
    inner = F.gelu(F.instance_norm(F.conv3d(y, s["fuse.first.0.weight"], padding=1)))
    inner = F.instance_norm(F.conv3d(inner, s["fuse.second.0.weight"], padding=1))
    y = F.gelu(inner + F.instance_norm(F.conv3d(y, s["fuse.shortcut.0.weight"])))
    return F.conv3d(doubled(y, part(s, "last_ups.0.")), s["head.weight"], s["head.bias"])


def test_the_network_follows_its_equations() -> None:
    net, x = randomised(TPMamba(3, 2, 3, **SMALL)), torch.randn(2, 2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(x), segmented(x, net.state_dict()), atol=2e-4, rtol=1e-3)


def test_only_the_additions_are_trained() -> None:
    net = TPMamba(3, 1, 2, **SMALL)
    trained = {key for key, p in net.named_parameters() if p.requires_grad}
    assert all("query_" in key or "value_" in key for key in trained if key.startswith("encoder."))
    assert {key.split(".")[0] for key in trained} == {"encoder", "adapters", "ups", "fuse", "last_ups", "head"}
    assert sum("query_" in key for key in trained) == 2 * 3


def test_it_starts_from_the_transformer() -> None:
    torch.manual_seed(0)
    vit = ViT(1, 32, 8, 8, 12, 3, 2, spatial_dims=2, qkv_bias=True).eval()
    net = TPMamba(3, 1, 2, **{**SMALL, "img_size": 32}).eval()
    found = net.encoder.load_state_dict(vit.state_dict(), strict=False)
    assert all("query_" in key or "value_" in key for key in found.missing_keys)
    assert all(key.startswith("norm.") or "cross_attn" in key for key in found.unexpected_keys)
    x = torch.randn(1, 1, 2, 16, 16)
    slices = F.interpolate(x[0].transpose(0, 1), scale_factor=2.0, mode="bilinear", align_corners=False)
    with torch.no_grad():
        hidden = vit(slices)[1]
        for ours, theirs in zip(net.encode(x), hidden, strict=True):
            torch.testing.assert_close(ours[0].flatten(2).permute(1, 2, 0), theirs, atol=1e-5, rtol=1e-4)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="patch_size is 12: over magnify=2"):
        TPMamba(3, 1, 2, **{**SMALL, "patch_size": 12})
    with pytest.raises(ValueError, match="planes is 'columns'"):
        TPMamba(3, 1, 2, planes=["columns"], **SMALL)
    with pytest.raises(ValueError, match="planes is empty"):
        TPMamba(3, 1, 2, planes=[], **SMALL)
    with pytest.raises(ValueError, match="rank is 0"):
        TPMamba(3, 1, 2, **{**SMALL, "rank": 0})
