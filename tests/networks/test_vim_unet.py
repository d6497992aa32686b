"""ViM-UNet: the authors' key names, and what their code does with the class token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medmamba_monai.networks.nets import Vim, ViMUNet
from medmamba_monai.weights import convert
from tests.oracles.adapters import load

CHANNELS = [32, 16, 8, 4]


def conv(a: int, b: int, k: int, transposed: bool = False) -> dict[str, tuple[int, ...]]:
    return {"weight": (a, b, k, k) if transposed else (b, a, k, k), "bias": (b,)}


def authors_decoder(dim: int, transposed: bool) -> dict[str, tuple[int, ...]]:
    """Key names and shapes of the authors' decoder, written from their classes."""

    def up(a: int, b: int) -> dict[str, tuple[int, ...]]:
        return conv(a, b, 2, True) if transposed else conv(a, b, 1)

    name = "block" if transposed else "conv"
    parts = {"out_conv": conv(CHANNELS[3], 2, 1), f"deconv_out.{name}": up(CHANNELS[3], CHANNELS[3])}
    doubles = {"base": (dim, CHANNELS[0]), "decoder_head": (2 * CHANNELS[3], CHANNELS[3])}
    for i, (a, b) in enumerate(zip(CHANNELS, CHANNELS[1:], strict=False)):
        doubles[f"decoder.blocks.{i}"] = (a, b)
        parts[f"decoder.samplers.{i}.{name}"] = up(a, b)
    for key, (a, b) in doubles.items():
        parts |= {f"{key}.block.1": conv(a, b, 3), f"{key}.block.4": conv(b, b, 3)}
    for i, (a, b) in enumerate(zip([dim, *CHANNELS], CHANNELS, strict=False), start=1):
        parts |= {f"deconv{i}.block.0.{name}": up(a, b), f"deconv{i}.block.1.block": conv(b, b, 3)}
        parts[f"deconv{i}.block.2"] = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (b,))
    return {f"{part}.{key}": shape for part, shapes in parts.items() for key, shape in shapes.items()}


@pytest.mark.parametrize("upsample", ["transposed", "linear"])
def test_key_names_of_the_authors(upsample: str) -> None:
    net = ViMUNet(2, 1, 2, 32, dim=12, depth=1, channels=CHANNELS[-1], upsample=upsample)
    mixer = {f"encoder.layers.0.mixer.{k}": v for k, v in net.encoder.mixers[0].state_dict().items()}
    state: dict[str, Tensor] = {key: torch.randn(s) for key, s in authors_decoder(12, upsample == "transposed").items()}
    state |= mixer | {"encoder.layers.0.norm.weight": torch.randn(12), "encoder.norm_f.weight": torch.randn(12)}
    state |= {"encoder.cls_token": torch.randn(1, 1, 12), "encoder.pos_embed": torch.randn(1, 5, 12)}
    state |= {"encoder.patch_embed.proj.weight": torch.randn(12, 1, 16, 16)}
    state |= {"encoder.patch_embed.proj.bias": torch.randn(12), "encoder.head.weight": torch.randn(1000, 12)}
    names = load(net, state)
    assert names["decoder.maps.2.1.weight"] == "deconv3.block.1.block.weight"
    assert names["decoder.maps.0.3.running_var"] == "deconv1.block.2.running_var"
    assert names["decoder.blocks.3.5.bias"] == "decoder_head.block.4.bias"
    assert names["head.weight"] == "out_conv.weight"
    assert len(convert(state, net)) == len(net.state_dict())


def test_the_released_design_drops_the_first_token() -> None:
    torch.manual_seed(0)
    arguments = {"img_size": 16, "patch_size": 4, "dim": 12, "depth": 1, "channels": 4}
    sound, released = (ViMUNet(2, 1, 2, design=design, **arguments).eval() for design in ("sound", "released"))
    released.load_state_dict(sound.state_dict())
    x = torch.randn(1, 1, 16, 16)
    tokens, grid = sound.encoder.sequence(x)
    assert tuple(grid) == (4, 4) and tokens.shape == (1, 17, 12)
    kept = torch.cat((tokens[:, :8], tokens[:, 9:]), 1)
    for net, expected in ((sound, kept), (released, tokens[:, 1:])):
        assert torch.equal(net._features(x).flatten(2).transpose(1, 2), expected)
    assert isinstance(sound.encoder, Vim)
    assert not torch.allclose(sound(x), released(x))
