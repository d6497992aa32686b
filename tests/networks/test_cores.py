"""All state-space cores: one contract, streaming, half precision, export, and the numbers of their authors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from medmamba_monai.networks.layers.hippo import diagonal_start, hippo_legs
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.mamba2 import Mamba2
from medmamba_monai.networks.layers.mamba3 import Mamba3
from medmamba_monai.networks.layers.s4 import S4, DPLRKernel
from medmamba_monai.networks.layers.s4d import S4D
from medmamba_monai.networks.layers.s5 import S5
from medmamba_monai.networks.layers.sequence import resolve_headdim
from tests.oracles import adapters, adapters_cores
from tests.oracles.oracle import Oracle

FOLDER = Path(__file__).parents[1] / "oracles"
CORES: dict[str, Callable[[], nn.Module]] = {
    "mamba": lambda: Mamba(8, d_state=4),
    "mamba_zoh": lambda: Mamba(8, d_state=4, input_rule="zoh"),
    "mamba2": lambda: Mamba2(8, d_state=4, headdim=4, chunk_size=8),
    "mamba2_plain": lambda: Mamba2(8, d_state=4, headdim=4, ngroups=2, rmsnorm=False, chunk_size=8),
    "mamba3": lambda: Mamba3(8, d_state=4, headdim=4, chunk_size=8),
    "mamba3_mimo": lambda: Mamba3(8, d_state=4, headdim=4, is_mimo=True, mimo_rank=2, ngroups=2, chunk_size=8),
    "mamba3_norm": lambda: Mamba3(8, d_state=4, headdim=4, is_mimo=True, outproj_norm=True, decay="softplus"),
    "s4": lambda: S4(8, d_state=4),
    "s4_diag": lambda: S4(8, d_state=4, mode="diag", init="diag-inv", disc="zoh"),
    "s4_real": lambda: S4(8, d_state=4, mode="diag", init="diag-lin", is_real=True),
    "s4d": lambda: S4D(8, d_state=4),
    "s5": lambda: S5(8, d_state=4),
    "s5_all_states": lambda: S5(8, d_state=4, blocks=2, conj_sym=False, disc="bilinear"),
}
BIDIRECTIONAL = {"s5_bidirectional": lambda: S5(8, d_state=4, bidirectional=True)}


@pytest.mark.parametrize("name", [*CORES, *BIDIRECTIONAL])
def test_shape_and_gradients(name: str) -> None:
    core, x = (CORES | BIDIRECTIONAL)[name](), torch.randn(2, 37, 8, requires_grad=True)
    y = core(x)
    assert y.shape == x.shape
    y.square().mean().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    for key, parameter in core.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), key


@pytest.mark.parametrize("name", CORES)
def test_steps_are_the_parallel_form(name: str) -> None:
    core, x = CORES[name](), torch.randn(2, 19, 8)
    state, outputs = core.initial_state(2), []
    with torch.no_grad():
        for token in x.unbind(1):
            y, state = core.step(token, state)
            outputs.append(y)
        torch.testing.assert_close(torch.stack(outputs, 1), core(x), rtol=1e-4, atol=2e-5)
    with pytest.raises(ValueError, match="one token a stream"):
        core.step(x, state)


@pytest.mark.parametrize("name", CORES)
def test_looks_only_backwards(name: str) -> None:
    core, x = CORES[name](), torch.randn(1, 12, 8)
    changed = x.clone()
    changed[:, 7:] += 1
    with torch.no_grad():
        y, other = core(x), core(changed)
    torch.testing.assert_close(y[:, :7], other[:, :7], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(y[:, 7:], other[:, 7:], atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CORES)
def test_half_precision_stays_finite(name: str, dtype: torch.dtype) -> None:
    core, x = CORES[name](), (100 * torch.randn(1, 20, 8)).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y = core(x)
    y.float().square().mean().backward()
    assert y.isfinite().all() and x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in core.parameters())


@pytest.mark.parametrize("name", [*CORES, "s5_bidirectional"])
def test_state_dict_and_float64(name: str) -> None:
    make = (CORES | BIDIRECTIONAL)[name]
    core, other, x = make(), make(), torch.randn(1, 9, 8)
    other.load_state_dict(core.state_dict())
    assert torch.equal(core(x), other(x))
    if not name.startswith("mamba"):
        torch.testing.assert_close(other.double()(x.double()).float(), core(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mamba2", "s5"])
def test_export_holds_for_other_lengths(name: str) -> None:
    # of each way to compute, recorded chunks and recorded kernels, one: an export takes seconds
    core = CORES[name]().eval()
    dynamic = {"x": {1: torch.export.Dim.AUTO}}
    program = torch.export.export(core, (torch.randn(1, 20, 8),), dynamic_shapes=dynamic).module()
    for length in (5, 33, 700):
        x = torch.randn(1, length, 8)
        torch.testing.assert_close(program(x), core(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", adapters_cores.NAMES)
def test_same_numbers_as_the_authors(name: str) -> None:
    oracle = Oracle(FOLDER / f"{name}.json")
    net = adapters.build(name, oracle.meta["ctor"]).eval()
    given = oracle.state_dict()
    given |= {k: torch.tensor(e["value"]) for k, e in oracle.meta["not_set"].items()}
    upstream_key = adapters.load(net, given)
    assert {upstream_key[key] for key, _ in net.named_parameters()} == set(oracle.grad_norm)
    if name == "s4":
        report = oracle.check(net(*oracle.inputs().values()))
        assert report, str(report)
        adapters_cores.after_first_forward(net, 40)  # type: ignore[arg-type]
    inputs = oracle.inputs(requires_grad=True)
    outputs = net(*inputs.values())
    oracle.loss(outputs).backward()
    grads = {key: value.grad for key, value in inputs.items()}
    grads |= {upstream_key[key]: p.grad for key, p in net.named_parameters()}
    report = oracle.check(outputs, grads)
    assert report, str(report)
    pairs = sum(given[key].numel() for key in set(upstream_key.values()) if given[key].is_complex())
    assert sum(p.numel() for p in net.parameters()) - pairs == oracle.meta["params"]


def test_a_lost_state_is_noticed() -> None:
    for name, key in (("mamba2", "A_log"), ("s4_diag_zoh", "layer.kernel.A_real"), ("s5", "seq.log_step")):
        oracle = Oracle(FOLDER / f"{name}.json")
        net = adapters.build(name, oracle.meta["ctor"]).eval()
        state = oracle.state_dict()
        adapters.load(net, state | {key: state[key] + 6})
        assert not oracle.check(net(*oracle.inputs().values())), name


def test_full_size_of_mamba2() -> None:
    counts = {96: 82601, 256: 465176, 768: 3764552}
    for width, count in counts.items():
        # 96 channels: the authors' 64 channels a head make three heads of the inner width 192
        assert sum(p.numel() for p in Mamba2(width, headdim=64).parameters()) == count


def test_hippo_is_split_exactly() -> None:
    n = torch.arange(8).double()
    A = -torch.tril(torch.sqrt((2 * n[:, None] + 1) * (2 * n + 1)), -1) - torch.diag(n + 1)
    Lambda, P, B, V = hippo_legs(8)
    rebuilt = V @ (torch.diag(Lambda) - P[:, None] * P.conj()) @ V.mH
    torch.testing.assert_close(rebuilt.real, A)
    torch.testing.assert_close((V @ B).real, torch.sqrt(2 * n + 1))
    assert rebuilt.imag.abs().max() < 1e-9
    torch.testing.assert_close(diagonal_start("legs", 8).imag, Lambda.imag[:4].flip(0))


def test_a_fresh_s4_is_hippo() -> None:
    kernel = DPLRKernel(1, 8, 0.1, 0.1)
    A, B, C = kernel.system()
    n, one = torch.arange(8).double(), torch.eye(8).double()
    hippo = -torch.tril(torch.sqrt((2 * n[:, None] + 1) * (2 * n + 1)), -1) - torch.diag(n + 1)
    discrete = torch.linalg.solve(one - 0.05 * hippo, one + 0.05 * hippo)
    for power in range(1, 5):
        found = torch.linalg.matrix_power(A[0], power).trace()
        torch.testing.assert_close(found, torch.linalg.matrix_power(discrete, power).trace(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mamba2(8, headdim=5), "headdim is 5"),
        (lambda: Mamba2(8, headdim=4, ngroups=3), "ngroups is 3"),
        (lambda: Mamba2(8, A_init_range=(2, 1)), "A_init_range"),
        (lambda: Mamba2(8, expand=0.01), "expand is 0.01"),
        (lambda: Mamba2(8, dt_min=1.0), "dt_min is 1.0"),
        (lambda: Mamba3(8, rope_fraction=0.3), "rope_fraction is 0.3"),
        (lambda: Mamba3(8, d_state=3), "d_state is 3"),
        (lambda: Mamba3(8, decay="exp"), "decay is 'exp'"),
        (lambda: S4(8, d_state=3), "d_state is 3"),
        (lambda: S4(8, mode="dense"), "mode is 'dense'"),
        (lambda: S4(8, disc="zoh"), "do not fit mode 'dplr'"),
        (lambda: S4(8, mode="diag", init="hippo"), "init 'hippo'"),
        (lambda: S4(8, mode="diag", disc="euler"), "disc is 'euler'"),
        (lambda: S4D(8, d_state=3), "d_state is 3"),
        (lambda: S5(8, d_state=6, blocks=2), "d_state is 6"),
        (lambda: S5(8, d_state=4, bidirectional=True).initial_state(1), "bidirectional is True"),
        (lambda: S4D(0), "d_model is 0"),
        (lambda: S4D(8)(torch.zeros(1, 3, 7)), "give \\(batch, length, 8\\)"),
        (lambda: Mamba(8, input_rule="exact"), "input_rule 'exact'"),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_width_of_a_head() -> None:
    assert [resolve_headdim("auto", width) for width in (32, 96, 128, 192, 97)] == [32, 48, 64, 64, 1]
