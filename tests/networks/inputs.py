"""What the networks of the registry take, and the shapes they give back, for the contract that all of them keep."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tests.networks.cases import CASES, KINDS, ODD_SIZES, SIZES, classifies

Given = tuple[Tensor, ...]


def kind(case: str) -> str:
    """What a network takes.

    "image", "pair" or "images" for two, "kspace" for an image with mask and coils, "noise" for an image with its step
    of diffusion and a condition, "bag" of features, "graph" for a bag with edges and orders, "nodes" for graphs side by
    side, "table" for an image with a table's columns.
    """
    return KINDS.get(CASES[case][0], "image")


def axes(case: str) -> int:
    """Axes of the grid: 2 or 3, or 1 for a bag."""
    count: int = CASES[case][1].get("spatial_dims", 1)
    return count


def channel_axis(case: str) -> int:
    """The axis of the input that holds its channels."""
    return {"bag": 2, "graph": 2}.get(kind(case), 1)


def inputs(case: str, batch: int = 2, size: Sequence[int] | None = None) -> Given:
    """Inputs with 2 channels, of an odd size unless another is given."""
    size = tuple(size or SIZES.get(case, ODD_SIZES[axes(case)]))
    bag = (batch, math.prod(size), 2)
    shape = {"bag": bag, "graph": bag, "nodes": (batch * bag[1], 2)}.get(kind(case), (batch, 2, *size))
    random = torch.Generator().manual_seed(1)
    drawn = tuple(torch.randn(shape, generator=random) for _ in range(2 if kind(case) in ("pair", "images") else 1))
    if kind(case) == "graph":
        walks = [torch.stack([torch.randperm(bag[1], generator=random) for _ in range(3)]) for _ in range(batch)]
        edges = torch.randint(bag[1], (batch, 2, 3 * bag[1]), generator=random)
        return (*drawn, edges, torch.stack(walks))
    if kind(case) == "masked":
        # every second patch is hidden, the first one too, but where there is only one
        stride = 2 ** len(CASES[case][1]["depths"])
        grid = [-(-n // stride) for n in size]
        hidden = (torch.arange(math.prod(grid)) % 2 == 0).reshape(grid) & (math.prod(grid) > 1)
        for axis in range(len(size)):
            hidden = hidden.repeat_interleave(stride, axis).narrow(axis, 0, size[axis])
        return (*drawn, hidden.expand(batch, 1, *size).contiguous())
    if kind(case) == "history":
        return (*drawn, torch.rand((batch, 5, axes(case)), generator=random))
    if kind(case) == "nodes":
        graphs = torch.arange(batch).repeat_interleave(bag[1])
        ends = torch.randint(bag[1], (2, batch, 3 * bag[1]), generator=random)
        edges = (ends + bag[1] * torch.arange(batch)[:, None]).flatten(1)
        return (*drawn, torch.randn((len(graphs), 2), generator=random), edges, graphs)
    if kind(case) == "kspace":
        mask = torch.rand((batch, 1, *size), generator=random) < 0.5
        return (*drawn, mask, torch.randn((batch, 3, *size, 2), generator=random))
    if kind(case) == "table":
        sizes = CASES[case][1]["categories"]
        columns = [torch.randint(count, (batch,), generator=random) for count in sizes]
        return (*drawn, torch.stack(columns, 1), torch.randn((batch, CASES[case][1]["numbers"]), generator=random))
    if kind(case) == "noise":
        timesteps = torch.randint(1000, (batch,), generator=random)
        channels = CASES[case][1].get("condition_channels", 0)
        context = torch.randn((batch, channels, *size), generator=random)
        return (*drawn, timesteps, context) if channels else (*drawn, timesteps)
    return drawn


def leaves(given: Given, scale: float = 1.0) -> Given:
    """The floating inputs, scaled, ready to take gradients; the others as they are."""
    return tuple((scale * x).requires_grad_() if x.is_floating_point() else x for x in given)


def cast(given: Given, dtype: torch.dtype) -> Given:
    """The floating inputs as another floating type."""
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in given)


def output_shapes(case: str, given: Given) -> list[tuple[int, ...]]:
    """Shapes of what the network gives: 3 classes, an image like the given one, a displacement along each axis."""
    x = given[0]
    if classifies(case):
        return [(len(x) if kind(case) != "nodes" else int(given[-1].max()) + 1, 3)]
    if kind(case) == "pair":
        return [tuple(x.shape), (len(x), axes(case), *x.shape[2:])]
    if kind(case) in ("images", "kspace", "masked"):
        return [tuple(x.shape)]
    if kind(case) == "history":
        return [(len(x), 1, *x.shape[2:]), (len(x), axes(case))]
    if kind(case) == "clip":
        return [(len(x), 2, x.shape[2] - 1 + CASES[case][1]["out_frames"], *x.shape[3:])]
    maps = [(len(x), 3, *x.shape[2:])]
    return [*maps, (len(x), 1, *x.shape[2:])] if CASES[case][1].get("edges") else maps


def second(case: str, given: Given) -> Given:
    """The second sample of a batch alone."""
    if kind(case) != "nodes":
        return tuple(x[1:] for x in given)
    x, places, edges, graphs = given
    own = graphs == 1
    first = int(own.long().argmax())
    return x[own], places[own], edges[:, own[edges[0]]] - first, graphs[own] - 1


def channels_last(x: nn.Module | Tensor, dim: int) -> nn.Module | Tensor:
    """A tensor or network of 2D or 3D maps in the layout with channels last; others as they are."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if isinstance(x, nn.Module) and {p.dim() for p in x.parameters()} & set(formats) != {dim}:
        # PyTorch converts all convolutions of a network or none, and these are of other numbers of axes too
        return x
    return x.to(memory_format=formats[dim]) if dim in formats else x  # type: ignore[call-overload]


def tensors(output: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The tensors of an output, one or several."""
    return [output] if isinstance(output, Tensor) else list(output)
