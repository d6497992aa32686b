"""The share of folded voxels against displacements whose determinant is known."""

from __future__ import annotations

import pytest
import torch

from medmamba_monai.metrics import FoldingMetric, jacobian_determinant


def places(*size: int) -> torch.Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij"))


@pytest.mark.parametrize("size", [(6, 5), (4, 6, 5)])
def test_linear_maps_have_the_determinant_of_their_matrix(size: tuple[int, ...]) -> None:
    axes = len(size)
    matrix = torch.randn(axes, axes, generator=torch.Generator().manual_seed(0))
    ddf = torch.einsum("ij,j...->i...", matrix, places(*size))[None]
    expected = torch.det(torch.eye(axes) + matrix)
    torch.testing.assert_close(jacobian_determinant(ddf), expected.expand(1, *size), atol=1e-4, rtol=1e-4)


def test_the_folded_part_is_counted() -> None:
    x = places(8, 10)
    # rows 4 and 5 are mirrored: their neighbours lie in the other order
    ddf = torch.zeros(2, 2, 8, 10)
    ddf[1, 0] = torch.where((x[0] >= 2) & (x[0] <= 6), 8 - 2 * x[0], torch.zeros(()))
    metric = FoldingMetric()
    each = metric(ddf)
    determinants = 1 + torch.gradient(ddf[1, 0], dim=0)[0]
    assert each.tolist() == [[0.0], [(determinants <= 0).float().mean().item()]]
    assert 0.3 < each[1].item() < 0.9
    torch.testing.assert_close(metric.aggregate(), each.mean(0))


def test_single_slices_do_not_change() -> None:
    assert jacobian_determinant(torch.randn(1, 3, 1, 1, 1)).tolist() == [[[[1.0]]]]


def test_errors() -> None:
    with pytest.raises(ValueError, match="displacement has shape"):
        jacobian_determinant(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="no displacements yet"):
        FoldingMetric().aggregate()
