"""Networks put together by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from medmamba_monai.networks.layers.sequence_mixer import CORES, SequenceMixer
from medmamba_monai.networks.nets import ComposedUNet
from medmamba_monai.ops.scan_order import scan_order
from medmamba_monai.ops.scan_orders.table import ORDERS

SMALL = {"depths": [1, 1], "dims": [8, 16]}


@pytest.mark.parametrize("core", CORES)
def test_every_core_with_a_decoder(core: str) -> None:
    net = ComposedUNet(2, 1, 1, core=core, order="bidirectional", mixer="sequence", **SMALL)
    y = net(torch.randn(1, 1, 9, 8))
    assert y.shape == (1, 1, 9, 8)
    y.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("decoder", ["add", "concat", "unetr"])
@pytest.mark.parametrize("block", ["vss", "replace", "ss_conv_ssm"])
def test_every_block_with_every_decoder(block: str, decoder: str) -> None:
    net = ComposedUNet(2, 2, 3, block=block, decoder=decoder, **SMALL).eval()
    assert net(torch.randn(1, 2, 9, 7)).shape == (1, 3, 9, 7)


def test_the_sequences_are_read_in_order_and_put_back() -> None:
    mixer = SequenceMixer(4, 2, "cross", "s6").eval()
    x = torch.randn(1, 3, 5, 4)
    rows = mixer.cores[0](x.reshape(1, 15, 4)).reshape(1, 3, 5, 4)
    columns = mixer.cores[1](x.transpose(1, 2).reshape(1, 15, 4)).reshape(1, 5, 3, 4).transpose(1, 2)
    back = mixer.cores[2](x.reshape(1, 15, 4).flip(1)).flip(1).reshape(1, 3, 5, 4)
    flipped = x.transpose(1, 2).reshape(1, 15, 4).flip(1)
    up = mixer.cores[3](flipped).flip(1).reshape(1, 5, 3, 4).transpose(1, 2)
    torch.testing.assert_close(mixer(x), (rows + columns + back + up) / 4)


def test_one_layer_for_all_sequences() -> None:
    shared, each = (SequenceMixer(4, 2, "cross", "s6", shared=s) for s in (True, False))
    for core in each.cores:
        core.load_state_dict(shared.cores[0].state_dict())
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(shared(x), each(x))


def test_blocks_without_a_residual_forget_their_input() -> None:
    net = ComposedUNet(2, 1, 1, block="replace", **SMALL)
    block = net.encoder.stages[0][0]
    x = torch.randn(1, 3, 3, 8)
    torch.testing.assert_close(block(x), block.mixer(block.norm(x)))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"core": "s4"}, 'mixer "scan" has the core "s6" only'),
        ({"core": "s7", "mixer": "sequence"}, "core is 's7'"),
        ({"mixer": "none"}, "mixer is 'none'"),
        ({"block": "none"}, "block is 'none'"),
        ({"decoder": "none"}, "decoder is 'none'"),
        ({"decoder": "unetr", "patch_size": 4}, "patch_size is 4"),
        ({"block": "ss_conv_ssm", "mixer": "sequence"}, 'block "ss_conv_ssm"'),
        ({"dims": [8], "depths": [1]}, "at least two"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ComposedUNet(2, 1, 1, **{**SMALL, **arguments})


def test_the_example_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compose.md").read_text(encoding="utf-8")
    config = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    net = ConfigParser(config).get_parsed_content("network_def").eval()
    assert net(torch.randn(1, 1, 33, 40)).shape == (1, 3, 33, 40)
    mixers = [stage[0].mixer for stage in (*net.encoder.stages, *net.decoder.stages)]
    assert [mixer.order.name for mixer in mixers] == ["hilbert", "local:4", "hilbert", "local:4", "hilbert"]
    assert {type(core) for mixer in mixers for core in mixer.cores} == {CORES["mamba2"]}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", ORDERS)
def test_every_order_that_fits(name: str, spatial_dims: int) -> None:
    if spatial_dims not in ORDERS[name].paths:
        pytest.skip("the order exists in other dimensions")
    if scan_order(name, spatial_dims).scans_channels:
        with pytest.raises(ValueError, match="scans along channels"):
            ComposedUNet(spatial_dims, 1, 1, order=name, **SMALL)
        return
    net = ComposedUNet(spatial_dims, 1, 1, order=name, **SMALL).eval()
    size = (13, 11, 9)[:spatial_dims]
    y = net(torch.randn(1, 1, *size))
    assert y.shape == (1, 1, *size) and y.isfinite().all()


def test_heads_with_patterns_of_their_own() -> None:
    net = ComposedUNet(2, 1, 1, mixer="heads", order="multi_head", mixer_arguments={"heads": 2}, **SMALL)
    assert net(torch.randn(1, 1, 9, 8)).shape == (1, 1, 9, 8)
    first, second = net.encoder.stages[0][0].mixer.heads
    assert first.order.steps != second.order.steps
