"""Positions of tokens on a grid: a learned table that is resized, and rotation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_positions(table: Tensor, grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Interpolate learned positions of one grid linearly to another grid.

    Args:
        table: positions, (1, L, C) with the places of the grid in row-major order.
        grid: size of the grid that they were learned for.
        size: size of the grid that is needed.

    Shape:
        Returns (1, L', C).

    Example:
        >>> resize_positions(torch.tensor([[[0.0], [1.0]]]), (1, 2), (1, 3)).flatten().tolist()
        [0.0, 0.5, 1.0]
    """
    places = table.transpose(1, 2).reshape(1, -1, *grid)
    mode = {2: "bilinear", 3: "trilinear"}[len(grid)]
    # half precision has no linear interpolation on every device
    resized = F.interpolate(places.float() if places.element_size() < 4 else places, size=tuple(size), mode=mode)
    return resized.flatten(2).transpose(1, 2)


def rotate(x: Tensor, size: Sequence[int], learned_grid: Sequence[int], theta: float = 10000.0) -> Tensor:
    """Turn pairs of neighbouring channels by angles that grow along an axis, an equal share of channels an axis.

    RoFormer (arXiv 2104.09864), section 3.2, on a grid as EVA-02 (arXiv 2303.11331) and Vim's code use it: places are
    counted in units of the grid that the network was trained at, so that a finer grid spans the same angles.

    Args:
        x: tokens; their channels must be divisible by twice the number of axes.
        size: size of the grid of the tokens.
        learned_grid: size of the grid that the network was trained at.
        theta: base of the wavelengths.

    Shape:
        x (B, L, C) with the places of the grid in row-major order; returns the same shape.

    Example:
        >>> rotate(torch.ones(1, 4, 4), (2, 2), (2, 2))[0, 0]
        tensor([1., 1., 1., 1.])
    """
    dims, share = len(size), x.shape[-1] // len(size)
    exponents = torch.arange(0, share, 2, dtype=torch.float32, device=x.device) / share
    parts = []
    for axis, (n, learned) in enumerate(zip(size, learned_grid, strict=True)):
        places = torch.arange(n, dtype=torch.float32, device=x.device) / n * learned
        angles = (places[:, None] / theta**exponents).repeat_interleave(2, -1)
        shape = [1] * dims + [share]
        shape[axis] = n
        parts.append(angles.reshape(shape).expand(*size, share))
    angle = torch.cat(parts, -1).flatten(0, -2)
    pairs = x.unflatten(-1, (-1, 2))
    turned = torch.stack((-pairs[..., 1], pairs[..., 0]), -1).flatten(-2)
    return x * angle.cos().to(x.dtype) + turned * angle.sin().to(x.dtype)
