"""Files of networks with several inputs and outputs; those of one image are tested with the command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medmamba_monai import export


class Pair(nn.Module):
    """Two images in, two images out, as registration does."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        field = self.mix(torch.cat([moving, fixed], 1))
        return moving + field[:, :1], field


def images(batch: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 1, 8, 8, generator=random), torch.randn(batch, 1, 8, 8, generator=random)


@pytest.mark.parametrize("kind", export.FORMATS)
def test_several_inputs_and_outputs(kind: str, tmp_path: Path) -> None:
    network, file = Pair().eval(), tmp_path / f"pair{export.FORMATS[kind]}"
    if kind == "torchscript":
        export.save_torchscript(network, images(2), file)
    elif kind == "pt2":
        export.save_program(export.program(network, images(2)), file)
    else:
        onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
        pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
        export.save_onnx(export.program(network, images(2)), file)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        assert [entry.name for entry in session.get_inputs()] == ["moving", "fixed"]
        assert [entry.name for entry in session.get_outputs()] == ["pred", "pred_2"]
    run = export.read(file)
    assert max(export.difference(run, network, images(batch)) for batch in (1, 3)) < 1e-5


def test_any_output_that_differs_is_noticed() -> None:
    network = Pair().eval()

    def wrong(moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        first, second = network(moving, fixed)
        return first, 1.5 * second

    assert export.difference(network, network, images(2)) == 0
    assert export.difference(wrong, network, images(2)) == pytest.approx(0.5)
    assert export.difference(lambda moving, fixed: moving, network, images(2)) == float("inf")
