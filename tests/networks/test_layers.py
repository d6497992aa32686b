"""The mixers against their definition, written out sequence by sequence."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import saturate
from medmamba_monai.networks.layers.scan_mixer import ScanMixer
from medmamba_monai.ops import scan_order, selective_scan


def spelled_out(mixer: ScanMixer, x: Tensor, name: str) -> Tensor:
    """The mixer as its paper draws it: every sequence read, projected and scanned alone, then put back."""
    dims = x.dim() - 2
    order, size = scan_order(name, spatial_dims=dims), x.shape[1:-1]
    u, z = mixer.in_proj(x).chunk(2, -1)
    u = F.silu(mixer.conv(u.movedim(-1, 1)))
    outputs = []
    for k, sequence in enumerate(order.sequences(u).unbind(1)):
        n = slice(k * mixer.d_inner, (k + 1) * mixer.d_inner)
        widths = [mixer.dt_rank, mixer.d_state, mixer.d_state]
        dt, B, C = (mixer.x_proj_weight[k] @ sequence).split(widths, 1)
        outputs.append(
            selective_scan(
                sequence,
                mixer.dt_projs_weight[k] @ dt,
                -mixer.A_logs[n].exp(),
                B,
                C,
                mixer.Ds[n],
                delta_bias=mixer.dt_projs_bias[k],
                delta_softplus=True,
                backend="reference",
            )
        )
    y = order.restore(torch.stack(outputs, 1), size).sum(1)
    return mixer.out_proj(mixer.out_norm(y.movedim(1, -1)) * F.silu(z))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cross", (5, 7)),
        ("cross", (3, 4, 5)),
        ("bidirectional", (4, 3)),
        ("raster", (2, 3, 3)),
        ("cross", (1, 1)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_scan_mixer_is_its_definition(name: str, size: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mixer = ScanMixer(6, spatial_dims=len(size), order=name, d_state=3, dt_rank=2).to(dtype)
    with torch.no_grad():
        for p in mixer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.randn(2, *size, 6, dtype=dtype)
    results = []
    for f in (lambda t: mixer(t), lambda t: spelled_out(mixer, t, name)):
        given = x.clone().requires_grad_()
        mixer.zero_grad()
        y = f(given)
        y.square().sum().backward()
        results.append([y.detach(), given.grad, *(p.grad for p in mixer.parameters())])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_mamba_looks_only_backwards() -> None:
    mixer, x = Mamba(8), torch.randn(1, 9, 8)
    changed = x.clone()
    changed[:, 5:] += 1
    y, other = mixer(x), mixer(changed)
    assert torch.equal(y[:, :5], other[:, :5]) and not torch.allclose(y[:, 5:], other[:, 5:])


def test_mamba_options() -> None:
    mixer = Mamba(8, d_state=4, d_conv=2, expand=1, dt_rank=3, bias=True, conv_bias=False)
    assert mixer(torch.randn(2, 5, 8)).shape == (2, 5, 8)
    assert mixer.in_proj.bias is not None and mixer.conv1d.bias is None
    assert (mixer.d_inner, mixer.dt_rank, mixer.x_proj.out_features) == (8, 3, 11)


@pytest.mark.parametrize(
    "wrong",
    [
        {"d_model": 0},
        {"d_state": 0},
        {"d_conv": 0},
        {"expand": 0.01},
        {"dt_rank": 0},
        {"dt_min": 0.2},
        {"dt_rank": "all"},
    ],
    ids=str,
)
def test_mamba_refuses(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Mamba(**{"d_model": 8, **wrong})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_mamba_stays_finite_in_half_precision(dtype: torch.dtype) -> None:
    mixer, x = Mamba(8), (100 * torch.randn(1, 20, 8)).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y = mixer(x)
    y.float().square().mean().backward()
    assert y.isfinite().all() and x.grad is not None and x.grad.isfinite().all()


def test_mixers_refuse_wrong_inputs() -> None:
    with pytest.raises(ValueError, match=r"give \(batch, length, 8\)"):
        Mamba(8)(torch.zeros(1, 3, 7))
    with pytest.raises(ValueError, match="grid axes, 8"):
        ScanMixer(8)(torch.zeros(1, 3, 8))
    with pytest.raises(ValueError, match="odd kernel size"):
        ScanMixer(8, d_conv=4)


def test_saturation_touches_float16_only() -> None:
    big = torch.tensor([1e6])
    assert saturate(big) is big
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert saturate(big) is big
    with torch.autocast("cpu", dtype=torch.float16):
        assert saturate(big).item() == 32752
