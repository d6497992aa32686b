"""Equations of the networks that read windows, strips, diagonals and spirals, written plainly."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.networks.equations import (
    State,
    channel_gate,
    conv,
    layer_norm,
    mamba_inner,
    part,
    places_scan,
    read_places,
    scan_sequences,
    write_places,
)


def windows(height: int, width: int, side: int) -> tuple[list[int], int]:
    """Window after window of a grid padded to whole windows: places, the place behind the last for padding."""
    tall, wide = -(-height // side), -(-width // side)
    found = []
    for block in range(tall * wide):
        for cell in range(side * side):
            i, j = block // wide * side + cell // side, block % wide * side + cell % side
            found.append(i * width + j if i < height and j < width else height * width)
    return found, height * width


def local_places(name: str, height: int, width: int) -> list[int]:
    """The places of LocalMamba's paths by their authors' names."""
    rows = list(range(height * width))
    kinds = {"h": rows, "v": [i * width + j for j in range(width) for i in range(height)]}
    bare = name.removesuffix("_flip")
    places = kinds[bare] if bare in kinds else windows(height, width, int(bare[1:]))[0]
    return places[::-1] if name.endswith("_flip") else places


def local_scan(names: list[str]) -> Callable[[Tensor, State], Tensor]:
    """LocalVMamba's scans of a map (B, D, H, W), their gates and their sum."""

    def scan_map(x: Tensor, s: State) -> Tensor:
        height, width = x.shape[2:]
        ways = [local_places(name, height, width) for name in names]
        found = [
            scan_sequences([read_places(x.flatten(2), places)], _one_of(s, k, len(names)))[0]
            for k, places in enumerate(ways)
        ]
        grids = [write_places(y, places, height * width) for y, places in zip(found, ways, strict=True)]
        gated = [channel_gate(grid.transpose(1, 2), s, "multi_scan.attn").transpose(1, 2) for grid in grids]
        return torch.stack(gated).sum(0).unflatten(2, (height, width))

    return scan_map


def _one_of(s: State, k: int, count: int) -> dict[str, Tensor]:
    """The parameters of one of the sequences whose parameters are stacked."""
    stacked = {name: s[name][k : k + 1] for name in ("x_proj_weight", "dt_projs_weight", "dt_projs_bias")}
    return {**stacked, **{name: s[name].unflatten(0, (count, -1))[k] for name in ("A_logs", "Ds")}}


def local_mixer(x: Tensor, s: State, names: list[str], height: int, width: int) -> Tensor:
    """LocalVim's layer on tokens (B, H * W, C)."""
    both = F.linear(x, s["in_proj.weight"]).transpose(1, 2)
    total = 0
    for k, name in enumerate(names):
        places = local_places(name, height, width)
        u, z = read_places(both, places).chunk(2, 1)
        grid = write_places(mamba_inner(u, z, s, f"_{k}"), places, height * width)
        total = total + channel_gate(grid.transpose(1, 2), s, "attn")
    return F.linear(total, s["out_proj.weight"])


def strips(height: int, width: int, rows: int, columns: int) -> list[list[int]]:
    """SliceMamba's four sequences: strips of rows column by column, strips of columns row by row, each both ways."""
    first = [i * width + j for top in range(0, height, rows) for j in range(width) for i in range(top, top + rows)]
    second = [
        i * width + j for left in range(0, width, columns) for i in range(height) for j in range(left, left + columns)
    ]
    return [first, first[::-1], second, second[::-1]]


def head_places(pattern: str, height: int, width: int) -> list[list[int]]:
    """The four routes of one of MHS-VM's heads: snakes, diagonals, spirals, or rows and columns."""
    cells = [(i, j) for i in range(height) for j in range(width)]
    if pattern == "C":
        first = [(i, j if i % 2 == 0 else width - 1 - j) for i, j in cells]
        second = [(j if i % 2 == 0 else height - 1 - j, i) for i in range(width) for j in range(height)]
    elif pattern == "X":
        # even diagonals upwards, odd ones downwards
        first = sorted(cells, key=lambda c: (sum(c), -c[0] if sum(c) % 2 == 0 else c[0]))
        second = [(i, width - 1 - j) for i, j in first]
    elif pattern == "S":
        first, left = [], set(cells)
        place, step = (0, -1), (0, 1)
        while left:
            following = (place[0] + step[0], place[1] + step[1])
            if following not in left:
                step = (step[1], -step[0])
                continue
            place = following
            left.remove(place)
            first.append(place)
        second = [(height - 1 - i, j) for i, j in first]
    else:
        first, second = cells, [(i, j) for j in range(width) for i in range(height)]
    routes = [[i * width + j for i, j in route] for route in (first, second)]
    return [routes[0], routes[0][::-1], routes[1], routes[1][::-1]]


def multi_head_mixer(x: Tensor, s: State, threshold: float) -> Tensor:
    """MHS-VM's mixer with four heads on (B, H, W, C)."""
    height, width = x.shape[1:3]
    u, z = F.linear(x, s["in_proj.weight"]).chunk(2, -1)
    u = F.silu(conv(u.movedim(-1, 1), s, "conv2d", u.shape[-1])).movedim(1, -1)
    groups, joined = F.linear(u, s["mhs.x_ssproj.weight"]).movedim(-1, 1).chunk(4, 1), []
    for pattern, group in zip("CXSZ", groups, strict=True):
        ways = head_places(pattern, height, width)
        y = torch.stack(places_scan(group, part(s, f"mhs.scanhead_{pattern}.mambaeng."), ways), 1)
        variation = y.std(1) / ((y - y.amin(1, keepdim=True)).mean(1) + 1e-5)
        joined.append(y.sum(1) * F.relu(variation - threshold))
    y = layer_norm(torch.cat(joined, 1).transpose(1, 2), s, "mhs.cat_norm")
    y = F.linear(y, s["mhs.y_proj.weight"]).unflatten(1, (height, width))
    return layer_norm(y, s, "out_norm") * F.silu(z)
