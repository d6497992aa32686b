"""The contract that every network of the registry keeps."""

from __future__ import annotations

import copy
import io
import json
import pickle
from functools import cache

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from torch import Tensor, nn

from medmamba_monai.networks import nets
from tests.networks.cases import CASES, ODD_SIZES, ROUGH, TRACES_OF_ONE_SIZE, arguments, build, trained
from tests.networks.inputs import (
    axes,
    cast,
    channel_axis,
    channels_last,
    inputs,
    leaves,
    output_shapes,
    second,
    tensors,
)
from tests.networks.tracing import Tracer

all_cases = pytest.mark.parametrize("case", CASES)


@cache
def expected(case: str) -> list[Tensor]:
    """What the network of a case gives for its inputs: computed once for all tests that compare with it."""
    with torch.no_grad():
        return tensors(build(case).eval()(*inputs(case)))


def test_every_network_is_tested() -> None:
    assert {name for name, _ in CASES.values()} == set(nets.__all__)


@all_cases
def test_shapes_at_odd_sizes(case: str) -> None:
    assert [tuple(y.shape) for y in expected(case)] == output_shapes(case, inputs(case))
    assert all(y.isfinite().all() for y in expected(case))


@all_cases
@pytest.mark.parametrize("length", [1, 2, 5])
@torch.no_grad()
def test_tiny_images(case: str, length: int) -> None:
    net = build(case).eval()
    outputs = tensors(net(*inputs(case, size=(length,) * axes(case))))
    assert all(y.isfinite().all() for y in outputs)


@all_cases
def test_gradients_reach_every_parameter_and_repeat(case: str) -> None:
    def run() -> list[Tensor]:
        net, given = build(case).train(), leaves(inputs(case))
        torch.manual_seed(3)
        outputs = tensors(net(*given))
        sum(y.square().mean() for y in outputs).backward()
        for x in (x for x in given if x.requires_grad):
            assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()
        for name, p in trained(net):
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
            assert p.grad.any(), name
        return [*outputs, *(p.grad for p in net.parameters() if p.grad is not None)]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@all_cases
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_is_finite(case: str, dtype: torch.dtype, scale: float, training: bool) -> None:
    net, given = build(case).train(training), leaves(inputs(case), scale)
    with torch.autocast("cpu", dtype=dtype):
        outputs = tensors(net(*given))
    for y in outputs:
        assert y.isfinite().all()
    sum(y.float().square().mean() for y in outputs).backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in given if x.requires_grad)
    for name, p in trained(net):
        assert p.grad is not None and p.grad.isfinite().all(), name


@all_cases
@torch.no_grad()
def test_bfloat16_stays_close(case: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = tensors(build(case).eval()(*inputs(case)))
    for y, wanted in zip(outputs, expected(case), strict=True):
        assert (y.float() - wanted).norm() < 0.2 * wanted.norm()


@all_cases
@torch.no_grad()
def test_round_trips(case: str) -> None:
    net, x = build(case).eval(), inputs(case)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    torch.manual_seed(7)
    fresh = getattr(nets, CASES[case][0])(**arguments(case)).eval()
    assert not torch.equal(tensors(fresh(*x))[-1], expected(case)[-1])
    fresh.load_state_dict(torch.load(file, weights_only=True))
    for other in (fresh, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert all(torch.equal(y, wanted) for y, wanted in zip(tensors(other(*x)), expected(case), strict=True))


@all_cases
def test_built_from_json(case: str) -> None:
    target = f"medmamba_monai.networks.nets.{CASES[case][0]}"
    config = json.loads(json.dumps({"network_def": {"_target_": target, **arguments(case)}}))
    net = ConfigParser(config).get_parsed_content("network_def")
    shapes = {key: value.shape for key, value in build(case).state_dict().items()}
    assert {key: value.shape for key, value in net.state_dict().items()} == shapes


@all_cases
@torch.no_grad()
def test_a_trace_that_was_saved(case: str, tracer: Tracer) -> None:
    """It holds at the size that was traced, and where no reason says otherwise at others too."""
    net, odd = build(case).eval(), inputs(case)
    fixed = case in TRACES_OF_ONE_SIZE
    recorded = odd if fixed else inputs(case, size=(16,) * axes(case))
    traced = tracer(net, recorded)
    torch.testing.assert_close(traced(*recorded), net(*recorded), atol=ROUGH.get(case, 1e-4), rtol=1e-4)
    for x in () if fixed else (odd, inputs(case, size=(12, 10, 9)[: axes(case)])):
        torch.testing.assert_close(traced(*x), net(*x), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("case", ["umamba_bottleneck_2d", "umamba_paper_3d", "medmamba_2d"])
def test_export(case: str) -> None:
    fewer = {"depths": [1], "dims": [8]} if "medmamba" in case else {}
    net, x = build(case, **fewer).eval(), inputs(case)
    exported = torch.export.export(net, x).module()
    torch.testing.assert_close(exported(*x), net(*x), atol=1e-4, rtol=1e-4)


@all_cases
@torch.no_grad()
def test_images_of_a_batch_do_not_mix(case: str) -> None:
    net, x = build(case).eval(), inputs(case)
    alone = tensors(net(*second(case, x)))
    for y, wanted in zip(expected(case), alone, strict=True):
        torch.testing.assert_close(y[1:], wanted, atol=1e-3, rtol=1e-3)


@all_cases
@torch.no_grad()
def test_memory_formats_and_meta_tensors(case: str) -> None:
    net, x = build(case).eval(), inputs(case)

    def check(outputs: list[Tensor]) -> None:
        plain = [y.as_tensor() if isinstance(y, MetaTensor) else y for y in outputs]
        torch.testing.assert_close(plain, expected(case), atol=1e-3, rtol=1e-3)

    check(tensors(net(*map(MetaTensor, x))))
    check(tensors(net(*(channels_last(t, t.dim()) for t in x))))
    check(tensors(net(*(t.transpose(0, -1).contiguous().transpose(0, -1) for t in x))))
    check(tensors(channels_last(net, axes(case) + 2)(*x)))


@all_cases
@torch.no_grad()
def test_double_precision(case: str) -> None:
    exact = tensors(build(case).eval().double()(*cast(inputs(case), torch.float64)))
    assert all(y.dtype == torch.float64 for y in exact)
    torch.testing.assert_close([y.float() for y in exact], expected(case), atol=ROUGH.get(case, 1e-4), rtol=1e-3)


@all_cases
def test_wrong_inputs_are_refused(case: str) -> None:
    net, x = build(case).eval(), inputs(case)
    wider = torch.cat((x[0], x[0].narrow(channel_axis(case), 0, 1)), channel_axis(case))
    with pytest.raises(ValueError, match="give .batch, "):
        net(*(t[0] for t in x))
    with pytest.raises(ValueError, match="3 channels and the network takes 2.*in_channels=3"):
        net(wider, *x[1:])
    with pytest.raises(TypeError, match="int64.*float"):
        net(*(t.long() for t in x))
    with pytest.raises(ValueError, match="at least one"):
        net(*(t[:0] for t in x))


@all_cases
@pytest.mark.parametrize("wrong", [{"spatial_dims": 4}, {"in_channels": 0}, {"d_state": 0}, {"unheard_of": 1}], ids=str)
def test_wrong_arguments_are_refused(case: str, wrong: dict[str, int]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
        build(case, **wrong)


@pytest.mark.parametrize("name", nets.__all__)
def test_published_sizes(name: str) -> None:
    network: type[nn.Module] = getattr(nets, name)
    for variant, (_, parameters) in network.variants.items():
        with torch.device("meta"):
            net = network.from_variant(variant)
        assert sum(p.numel() for p in net.parameters()) == parameters, variant
    with pytest.raises(ValueError, match="use one of"):
        network.from_variant("gigantic")


def test_odd_sizes_are_odd() -> None:
    assert all(any(n % 2 for n in size) for size in ODD_SIZES.values())
