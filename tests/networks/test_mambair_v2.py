"""MambaIRv2 against its equations, on weights under the authors' names."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.attentive import mirror_to_multiple
from medmamba_monai.networks.layers.semantic_scan import SemanticScan
from medmamba_monai.networks.nets import MambaIRv2
from medmamba_monai.weights import convert
from tests.networks import restoration_equations as equations
from tests.networks.test_backbones import Shapes, drawn, norm


def linear(name: str, inputs: int, outputs: int, taps: int = 0) -> Shapes:
    """A linear map, or a convolution with so many taps on each axis."""
    return {f"{name}.weight": (outputs, inputs, *(taps, taps) * (taps > 0)), f"{name}.bias": (outputs,)}


def layer_shapes(prefix: str, c: int, window: int, heads: int, gated: bool) -> Shapes:
    inner, states, classes, rank = 2 * c, 3, 5, 2
    small = -(-inner // 16)
    core = f"{prefix}assm.selectiveScan."
    shapes = {
        f"{prefix}scale1": (c,),
        f"{prefix}scale2": (c,),
        **linear(f"{prefix}wqkv", c, 3 * c),
        f"{prefix}win_mhsa.relative_position_bias_table": ((2 * window - 1) ** 2, heads),
        **linear(f"{prefix}win_mhsa.proj", c, c),
        f"{core}x_proj_weight": (1, small + 2 * states, inner),
        f"{core}dt_projs_weight": (1, inner, small),
        f"{core}dt_projs_bias": (1, inner),
        f"{core}A_logs": (inner, states),
        f"{core}Ds": (inner,),
        **norm(f"{prefix}assm.out_norm", inner),
        **linear(f"{prefix}assm.out_proj", inner, c),
        **linear(f"{prefix}assm.in_proj.0", c, inner, 1),
        **linear(f"{prefix}assm.CPE.0", 1, inner, 3),
        f"{prefix}assm.embeddingB.weight": (classes, rank),
        **linear(f"{prefix}assm.route.0", c, c // 3),
        **linear(f"{prefix}assm.route.2", c // 3, classes),
        f"{prefix}embeddingA.weight": (rank, states),
    }
    for n in (1, 2):
        mlp = f"{prefix}convffn{n}."
        middle = inner // 2 if gated else inner
        shapes |= {**linear(f"{mlp}fc1", c, inner), **linear(f"{mlp}fc2", middle, c)}
        if gated:
            shapes |= {**norm(f"{mlp}sg.norm", middle), **linear(f"{mlp}sg.conv", 1, middle, 5)}
        else:
            shapes |= linear(f"{mlp}dwconv.depthwise_conv.0", 1, middle, 5)
    for n in (1, 2, 3, 4):
        shapes |= norm(f"{prefix}norm{n}", c)
    return shapes


def network_shapes(c: int, window: int, heads: int, gated: bool, upsampler: str) -> Shapes:
    shapes = {
        **linear("conv_first", 1, c, 3),
        **norm("patch_embed.norm", c),
        **layer_shapes("layers.0.residual_group.layers.0.", c, window, heads, gated),
        **layer_shapes("layers.0.residual_group.layers.1.", c, window, heads, gated),
        **linear("layers.0.conv", c, c, 3),
        **norm("norm", c),
        **linear("conv_after_body", c, c, 3),
        "relative_position_index_SA": (window**2, window**2),
    }
    if upsampler == "direct":
        return {**shapes, **linear("upsample.0", c, 4, 3)}
    if upsampler == "x2":
        wide = {**linear("conv_before_upsample.0", c, 64, 3), **linear("upsample.0", 64, 256, 3)}
        return {**shapes, **wide, **linear("conv_last", 64, 1, 3)}
    return {**shapes, **linear("conv_last", c, 1, 3)}


@pytest.mark.parametrize(
    ("gated", "upsampler", "design"),
    [(False, "", "sound"), (False, "x2", "released"), (True, "direct", "sound"), (True, "", "released")],
)
def test_network_is_its_equations(
    gated: bool, upsampler: str, design: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def likeliest(scores: Tensor, hard: bool, dim: int) -> Tensor:
        return F.one_hot(scores.argmax(dim), scores.shape[dim]).to(scores.dtype)

    # the released design draws classes at random
    monkeypatch.setattr(F, "gumbel_softmax", likeliest)
    given = {"dim": 6, "depths": [2], "heads": 2, "window_size": 4, "d_state": 3, "num_tokens": 5, "inner_rank": 2}
    scale = {"": {}, "direct": {"scale": 2, "upsampler": "direct"}, "x2": {"scale": 2}}[upsampler]
    net = MambaIRv2(2, 1, gated_mlp=gated, design=design, **given, **scale).eval()
    state = drawn(network_shapes(6, 4, 2, gated, upsampler))
    with caplog.at_level(logging.INFO, "medmamba_monai.weights.convert"):
        net.load_state_dict(convert(state, net), strict=True)
    assert "relative_position_index_SA" in caplog.text
    x = torch.randn(2, 1, 5, 10)
    expected = equations.mambair_v2(x, state, 4, 2, design == "sound", upsampler)
    torch.testing.assert_close(net(x), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_released_prompts_go_to_other_tokens() -> None:
    torch.manual_seed(0)
    sound, released = (SemanticScan(6, num_tokens=4, inner_rank=2, design=d) for d in ("sound", "released"))
    with torch.no_grad():
        for p in sound.parameters():
            p.add_(0.5 * torch.randn_like(p))
    released.load_state_dict(sound.state_dict())
    released.classes = sound.eval().classes
    x = torch.randn(1, 4, 4, 6)
    assert not torch.allclose(sound(x), released(x))
    nn.init.zeros_(sound.prompts_left)
    nn.init.zeros_(released.prompts_left)
    torch.testing.assert_close(sound(x), released(x))


def test_classes_are_drawn_in_training_only() -> None:
    torch.manual_seed(0)
    layer, x = SemanticScan(6, num_tokens=4), torch.randn(1, 5, 5, 6)
    for one_hot in (layer.classes(x), layer.eval().classes(x)):
        assert torch.equal(one_hot.detach().sort(-1).values, torch.tensor([0.0, 0, 0, 1]).expand(1, 5, 5, 4))
    assert torch.equal(layer.classes(x), layer.classes(x))
    assert torch.equal(layer.classes(x).argmax(-1), layer.route(x).argmax(-1))
    assert not torch.equal(layer.train().classes(x), layer.classes(x))
    released = SemanticScan(6, num_tokens=4, design="released").eval()
    assert not torch.equal(released.classes(x), released.classes(x))


def test_checkpoints_repeat_the_classes() -> None:
    found = []
    for use in (False, True):
        torch.manual_seed(0)
        net = MambaIRv2(2, 1, dim=6, depths=[2], heads=2, window_size=4, use_checkpoint=use).train()
        torch.manual_seed(2)
        net(torch.linspace(0, 1, 30).reshape(1, 1, 5, 6)).square().mean().backward()
        found.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(found[0], found[1], atol=1e-7, rtol=1e-3)


def test_images_are_mirrored_as_often_as_needed() -> None:
    x = torch.arange(2.0).reshape(1, 1, 2, 1)
    assert mirror_to_multiple(x, 7)[0, 0, :, 0].tolist() == [0, 1, 1, 0, 0, 1, 1]
    assert mirror_to_multiple(x, 7).shape == (1, 1, 7, 7)
    assert mirror_to_multiple(x, 1) is x


def test_without_weights_the_image_comes_back() -> None:
    net = MambaIRv2(2, 1, dim=6, depths=[1], heads=2, window_size=4, mean=[0.4]).eval()
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    x = torch.rand(1, 1, 5, 7)
    torch.testing.assert_close(net(x), x)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 4}, "heads is .*divide dim=6"),
        ({"kernel_size": 4}, "kernel_size is 4.*odd"),
        ({"design": "paper"}, "design is 'paper'"),
        ({"mean": [0.1, 0.2]}, "mean has 2 entries"),
        ({"num_tokens": 0}, "num_tokens is 0"),
    ],
)
def test_wrong_arguments(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MambaIRv2(2, 1, **{"dim": 6, "depths": [1], "heads": 2, "window_size": 4, **wrong})
