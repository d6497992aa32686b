"""The causal convolution against the authors' numbers, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.ops import causal_conv1d
from tests.oracles.oracle import Oracle

ORACLES = Path(__file__).parents[1] / "oracles" / "ssm_ops.json"


@pytest.mark.parametrize("case", ["causal_conv1d", "causal_conv1d_noact"])
def test_oracles(case: str) -> None:
    oracle = Oracle(ORACLES, case)
    tensors = oracle.inputs(requires_grad=True)
    y = causal_conv1d(**tensors, **oracle.info["kwargs"])
    oracle.loss(y).backward()
    report = oracle.check(y, {name: x.grad for name, x in tensors.items() if x.grad is not None}, 1e-5)
    assert report, str(report)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_short_sequences_and_gradients(length: int) -> None:
    x = torch.randn(2, 3, length, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    wanted = F.conv1d(F.pad(x, (3, 0)), weight[:, None], groups=3)
    torch.testing.assert_close(causal_conv1d(x, weight), wanted)
    assert torch.autograd.gradcheck(causal_conv1d, (x, weight))


def test_it_looks_only_backwards() -> None:
    x = torch.randn(1, 2, 9)
    changed = x.clone()
    changed[..., 5:] = 7.0
    weight = torch.randn(2, 4)
    torch.testing.assert_close(causal_conv1d(x, weight)[..., :5], causal_conv1d(changed, weight)[..., :5])


@pytest.mark.parametrize(
    "x, weight, options, words",
    [
        (torch.zeros(3, 5), torch.zeros(3, 4), {}, "takes (batch, channels, length)"),
        (torch.zeros(1, 3, 5), torch.zeros(2, 4), {}, "with 3 channels as in x"),
        (torch.zeros(1, 3, 5), torch.zeros(3, 4), {"bias": torch.zeros(2)}, "one value a channel"),
        (torch.zeros(1, 3, 5), torch.zeros(3, 4), {"activation": "relu"}, "activation 'relu' is unknown"),
    ],
)
def test_wrong_inputs(x: Tensor, weight: Tensor, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        causal_conv1d(x, weight, **options)  # type: ignore[arg-type]
    assert words in str(caught.value)
