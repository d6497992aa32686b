"""The contract that every network of the registry keeps."""

from __future__ import annotations

import copy
import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from torch import Tensor, nn

from medmamba_monai.networks import nets
from tests.networks.cases import CASES, ODD_SIZES, arguments, build, classifies, image, tensors, trained

all_cases = pytest.mark.parametrize("case", CASES)


def test_every_network_is_tested() -> None:
    assert {name for name, _ in CASES.values()} == set(nets.__all__)


@all_cases
def test_shapes_at_odd_sizes(case: str) -> None:
    net, x = build(case).eval(), image(case)
    y = net(x)
    assert y.shape == ((2, 3) if classifies(case) else (2, 3, *x.shape[2:]))
    assert y.isfinite().all()


@all_cases
@pytest.mark.parametrize("length", [1, 2, 5])
def test_tiny_images(case: str, length: int) -> None:
    net = build(case).eval()
    y = net(image(case, size=(length,) * net.spatial_dims))
    assert y.isfinite().all()


@all_cases
def test_gradients_reach_every_parameter(case: str) -> None:
    net, x = build(case).train(), image(case).requires_grad_()
    sum(y.square().mean() for y in tensors(net(x))).backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()
    for name, p in trained(net):
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


@all_cases
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_is_finite(case: str, dtype: torch.dtype, scale: float, training: bool) -> None:
    net, x = build(case).train(training), (scale * image(case)).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        outputs = tensors(net(x))
    for y in outputs:
        assert y.isfinite().all()
    sum(y.float().square().mean() for y in outputs).backward()
    assert x.grad is not None and x.grad.isfinite().all()
    for name, p in trained(net):
        assert p.grad is not None and p.grad.isfinite().all(), name


@all_cases
def test_bfloat16_stays_close(case: str) -> None:
    net, x = build(case).eval(), image(case)
    expected = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(x)
    assert (y.float() - expected).norm() < 0.2 * expected.norm()


@all_cases
def test_round_trips(case: str) -> None:
    net, x = build(case).eval(), image(case)
    expected = net(x)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    torch.manual_seed(7)
    fresh = getattr(nets, CASES[case][0])(**arguments(case)).eval()
    assert not torch.equal(fresh(x), expected)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    for other in (fresh, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert torch.equal(other(x), expected)


@all_cases
def test_built_from_json(case: str) -> None:
    target = f"medmamba_monai.networks.nets.{CASES[case][0]}"
    config = json.loads(json.dumps({"network_def": {"_target_": target, **arguments(case)}}))
    net = ConfigParser(config).get_parsed_content("network_def")
    expected = {key: value.shape for key, value in build(case).state_dict().items()}
    assert {key: value.shape for key, value in net.state_dict().items()} == expected


@all_cases
def test_trace(case: str, tmp_path: Path) -> None:
    net, x = build(case).eval(), image(case)
    traced = torch.jit.trace(net, x, check_trace=False)
    traced.save(str(tmp_path / "net.ts"))
    loaded = torch.jit.load(str(tmp_path / "net.ts"))
    torch.testing.assert_close(loaded(x), net(x), atol=1e-4, rtol=1e-4)


@all_cases
def test_a_trace_holds_at_other_sizes(case: str) -> None:
    net = build(case).eval()
    even = (16,) * net.spatial_dims
    traced = torch.jit.trace(net, image(case, size=even), check_trace=False)
    for x in (image(case), image(case, size=(12, 10, 9)[: net.spatial_dims])):
        torch.testing.assert_close(traced(x), net(x), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("case", ["umamba_bottleneck_2d", "umamba_paper_3d", "medmamba_2d"])
def test_export(case: str) -> None:
    fewer = {"depths": [1], "dims": [8]} if "medmamba" in case else {}
    net, x = build(case, **fewer).eval(), image(case)
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), net(x), atol=1e-4, rtol=1e-4)


@all_cases
def test_deterministic(case: str) -> None:
    def run() -> list[Tensor]:
        net = build(case).train()
        torch.manual_seed(3)
        outputs = tensors(net(image(case)))
        sum(y.square().mean() for y in outputs).backward()
        return [*outputs, *(p.grad for p in net.parameters() if p.grad is not None)]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@all_cases
def test_images_of_a_batch_do_not_mix(case: str) -> None:
    net, x = build(case).eval(), image(case)
    torch.testing.assert_close(net(x)[1:], net(x[1:]), atol=1e-3, rtol=1e-3)


@all_cases
def test_memory_formats_and_meta_tensors(case: str) -> None:
    net, x = build(case).eval(), image(case)
    expected = net(x)
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    format_ = formats[net.spatial_dims]
    for given in (MetaTensor(x), x.to(memory_format=format_), x.transpose(-1, -2).contiguous().transpose(-1, -2)):
        y = net(given)
        y = y.as_tensor() if isinstance(y, MetaTensor) else y
        torch.testing.assert_close(y, expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(net.to(memory_format=format_)(x), expected, atol=1e-3, rtol=1e-3)


@all_cases
def test_double_precision(case: str) -> None:
    net, x = build(case).eval(), image(case)
    exact = net.double()(x.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), net.float()(x), atol=1e-4, rtol=1e-3)


@all_cases
def test_wrong_inputs_are_refused(case: str) -> None:
    net, x = build(case).eval(), image(case)
    with pytest.raises(ValueError, match="give .batch, channels"):
        net(x[0])
    with pytest.raises(ValueError, match="3 channels and the network takes 2.*in_channels=3"):
        net(torch.cat((x, x[:, :1]), 1))
    with pytest.raises(TypeError, match="int64.*float"):
        net(x.long())
    with pytest.raises(ValueError, match="at least one image"):
        net(x[:0])


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
