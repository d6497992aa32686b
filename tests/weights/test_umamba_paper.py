"""U-Mamba's code of the paper, before April 2024: its key names, and its convolutions without biases."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from medmamba_monai.networks.nets import UMamba
from tests.oracles.adapters import load

SMALL = {"features": [4, 8, 8], "n_blocks": 2, "n_decoder_blocks": 1, "design": "paper"}


def early_names(net: UMamba, key: str) -> list[str]:
    """All names of one of our tensors in the early code, which registers most of them two or four times."""
    parts = {"conv": "all_modules.0", "norm": "all_modules.1"}
    place = re.fullmatch(r"(en|de)coder\.(\d)\.(\d)\.(conv|norm)([12])\.(\w+)", key)
    skip = re.fullmatch(r"(en|de)coder\.(\d)\.(\d)\.shortcut\.(\d)\.(\w+)", key)
    mixer = re.fullmatch(r"mixers\.(\d)\.(norm|mamba)\.(.+)", key)
    if key.startswith("stem."):
        prefix, kind, name = "encoder.stem.convs.0", "conv" if key[5] == "0" else "norm", key[7:]
    elif place:
        coder, stage, block, kind, number, name = place.groups()
        prefix = f"{coder}coder.stages.{stage}.blocks.{block}.conv{number}"
    elif skip:
        coder, stage, block, layer, name = skip.groups()
        module = net.get_submodule(key.rpartition(".")[0])
        kind, first = ("conv", int(layer)) if isinstance(module, nn.Conv2d) else ("norm", int(layer) - 2)
        prefix = f"{coder}coder.stages.{stage}.blocks.{block}.skip.{first}"
    elif mixer and sum(isinstance(m, nn.Identity) for m in net.mixers):
        return [f"{'ln' if mixer[2] == 'norm' else 'mamba'}.{mixer[3]}"]
    else:
        renamed = re.sub(r"^mixers\.", "encoder.mamba_layers.", key)
        renamed = re.sub(r"^up\.", "decoder.transpconvs.", re.sub(r"^heads\.", "decoder.seg_layers.", renamed))
        return [renamed] + ([f"decoder.{renamed}"] if renamed.startswith("encoder.") else [])
    names = [f"{prefix}.{kind}.{name}", f"{prefix}.{parts[kind]}.{name}"]
    return names + [f"decoder.{found}" for found in names if found.startswith("encoder.")]


@pytest.mark.parametrize("conv_bias", [True, False])
@pytest.mark.parametrize("variant", ["bottleneck", "encoder"])
def test_key_names_of_the_early_code(variant: str, conv_bias: bool) -> None:
    torch.manual_seed(0)
    net, other = (UMamba(2, 1, 3, variant=variant, conv_bias=conv_bias, **SMALL).eval() for _ in range(2))
    state: dict[str, Tensor] = {}
    for key, value in net.state_dict().items():
        state |= dict.fromkeys(early_names(net, key), value)
    expected = {"encoder.stem.convs.0.conv.weight", "encoder.stages.1.blocks.0.conv2.all_modules.1.weight"}
    expected |= {"decoder.encoder.stages.1.blocks.0.skip.1.norm.weight", "decoder.stages.0.blocks.0.skip.0.conv.weight"}
    expected |= {"decoder.transpconvs.1.weight", "decoder.seg_layers.0.bias"}
    expected |= {"ln.weight", "mamba.A_log"} if variant == "bottleneck" else {"encoder.mamba_layers.0.mamba.D"}
    assert expected <= set(state)
    assert ("decoder.transpconvs.0.bias" in state) == conv_bias
    names = load(other, state)
    assert set(names) == set(other.state_dict())
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(net(x), other(x))


def test_biases_of_the_convolutions() -> None:
    def without(net: nn.Module) -> int:
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        return sum(isinstance(m, kinds) and m.bias is None for m in net.modules())

    paper, released = (UMamba(2, 1, 3, **{**SMALL, "design": d}, conv_bias=False) for d in ("paper", "released"))
    # stem, five stages of two, two, two, one and one blocks, five projections, two steps up
    projections = sum(isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.bias is None for m in paper.modules())
    assert projections == 3 and without(paper) == 1 + 2 * 8 + projections + 2
    # one further block each in the stem and the three encoder stages
    assert without(released) == 2 * 4
    assert without(UMamba(2, 1, 3, **SMALL)) == projections
