"""VmambaIR against its equations, on weights under the authors' names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medmamba_monai.networks.layers.scan_mixer import ScanMixer
from medmamba_monai.networks.nets import VmambaIR
from tests.networks import restoration_equations as equations
from tests.networks.test_backbones import Shapes, drawn, load, norm
from tests.networks.test_mambair_v2 import linear


def conv(name: str, inputs: int, outputs: int, taps: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, taps, taps)}


def block_shapes(prefix: str, c: int, width: int) -> Shapes:
    a, rank, states = f"{prefix}attn.", -(-c // 16), 16
    hidden, steps = int(c * 2.66), 6 if width == 2 else rank
    shapes = {
        **norm(f"{prefix}norm1.body", c),
        **norm(f"{prefix}norm2.body", c),
        **linear(f"{a}in_conv", c, 2 * c, 1),
        **linear(f"{a}conv2d", 1, c, 3),
        **norm(f"{a}out_norm.body", c),
        **linear(f"{a}out_conv", c, c, 1),
        f"{a}x_proj_weight": (4, rank + 2 * states, c),
        f"{a}dt_projs_weight": (4, c, rank),
        f"{a}dt_projs_bias": (4, c),
        f"{a}A_logs": (4 * c, states),
        f"{a}Ds": (4 * c,),
        f"{a}xc_proj_weight": (2, steps + 2 * states, width),
        f"{a}dtc_projs_weight": (2, width, steps),
        f"{a}dtc_projs_bias": (2, width),
        f"{a}Ac_logs": (2 * width, states),
        f"{a}Dsc": (2 * width,),
        **norm(f"{a}channel_norm.body", c),
        **conv(f"{prefix}ffn.project_in", c, 2 * hidden, 1),
        **conv(f"{prefix}ffn.dwconv", 1, 2 * hidden, 3),
        **conv(f"{prefix}ffn.project_out", hidden, c, 1),
    }
    if width == 2:
        shapes |= {**linear(f"{a}conv_cin", 1, 2, 1), **linear(f"{a}conv_cout", 2, 1, 1)}
    return shapes


def network_shapes(c: int, scale: int) -> Shapes:
    width = 2 if scale == 1 else 1
    shapes = conv("patch_embed.proj", 1, c, 3)
    for level, channels in enumerate((c, 2 * c, 4 * c), 1):
        shapes |= block_shapes(f"encoder_level{level}.0.", channels, width)
        shapes |= block_shapes(f"decoder_level{level}.0.", max(channels, 2 * c), width)
        shapes |= conv(f"down{level}_{level + 1}.body.0", channels, channels // 2, 3)
        shapes |= conv(f"up{level + 1}_{level}.body.0", 2 * channels, 4 * channels, 3)
        if level > 1:
            shapes |= conv(f"reduce_chan_level{level}", 2 * channels, channels, 1)
    shapes |= {**block_shapes("latent.0.", 8 * c, width), **block_shapes("refinement.0.", 2 * c, width)}
    if scale == 1:
        return {**shapes, **conv("output", 2 * c, 1, 3)}
    steps = {**linear("tail.0.0", 2 * c, 8 * c, 3), **linear("tail.0.2", 2 * c, 8 * c, 3)}
    return {**shapes, **steps, **linear("tail.1", 2 * c, 1, 3)}


@pytest.mark.parametrize("scale", [1, 4])
def test_network_is_its_equations(scale: int) -> None:
    given = {"dim": 4, "depths": [1, 1, 1, 1], "refinement": 1, "scale": scale, "channel_width": 2 if scale == 1 else 1}
    state = drawn(network_shapes(4, scale))
    net, x = load(VmambaIR(2, 1, **given), state), torch.randn(2, 1, 8, 16)
    expected = equations.vmambair(x, state, scale)
    torch.testing.assert_close(net(x), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("fused", [True, False])
def test_biases_of_the_mixer(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mixer, plain = ScanMixer(6, d_state=3, bias=True), ScanMixer(7, d_state=3, dt_rank=1, expand=12 / 7)
    if not fused:
        monkeypatch.setattr("medmamba_monai.networks.layers.scan_mixer.runs_fused", lambda x: False)
    # a seventh channel that is always one holds the first bias
    shared = {k: v for k, v in mixer.state_dict().items() if "proj." not in k}
    first = torch.cat((mixer.in_proj.weight, mixer.in_proj.bias[:, None]), 1)
    last = torch.cat((mixer.out_proj.weight, torch.zeros(1, 12)))
    plain.load_state_dict({**shared, "in_proj.weight": first, "out_proj.weight": last})
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(mixer(x), plain(F.pad(x, (0, 1), value=1.0))[..., :6] + mixer.out_proj.bias)
    assert mixer.in_proj.bias.abs().min() > 0


def test_larger_images_begin_as_copies() -> None:
    net = VmambaIR(2, 1, dim=4, depths=[1, 1], refinement=1, scale=2)
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    x = torch.rand(1, 1, 5, 7)
    torch.testing.assert_close(net(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    with pytest.raises(ValueError, match="scale is 3"):
        VmambaIR(2, 1, dim=4, depths=[1, 1], scale=3)
    with pytest.raises(ValueError, match="channel_width is 0"):
        VmambaIR(2, 1, dim=4, depths=[1, 1], channel_width=0)
