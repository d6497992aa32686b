"""Whole networks on a GPU: the numbers of the CPU, and hundreds of steps in mixed precision without a NaN."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss

from tests.networks.cases import CASES, build, image
from tests.networks.inputs import inputs, leaves, tensors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICE, STEPS = "cuda", 300


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_of_the_cpu(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    found = []
    for device in ("cpu", DEVICE):
        net, given = build(case).eval().to(device), leaves(tuple(x.to(device) for x in inputs(case)))
        outputs = tensors(net(*given))
        sum(y.square().mean() for y in outputs).backward()
        grads = [x.grad for x in given if x.requires_grad]
        found.append([t.detach().cpu() for t in (*outputs, *grads)])
    for wanted, got in zip(*found, strict=True):
        assert (got - wanted).norm() < 1e-3 * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("umamba", "segmamba"))])
def test_mixed_precision_training(case: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net, pictures = build(case).train().to(DEVICE), image(case).to(DEVICE)
    label = (pictures[:, :1] > 0.5).long()
    optimizer = torch.optim.AdamW(net.parameters(), 0.002)
    scaler = torch.amp.GradScaler(DEVICE, enabled=dtype == torch.float16)
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast(DEVICE, dtype):
            y = tensors(net(pictures))[0]
            loss = loss_function(y.float(), label)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert torch.tensor(losses).isfinite().all()
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.isfinite().all() for p in net.parameters())
