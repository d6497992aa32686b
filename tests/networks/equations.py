"""The equations of published blocks, written plainly on weights with their authors' names, to compare networks with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def part(state: State, prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def scan(u: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor) -> Tensor:
    """The selective scan of one sequence, step by step: u, dt (B, D, L), B and C (B, N, L)."""
    delta, A = F.softplus(dt + bias[:, None]), -A_log.exp()
    h, steps = u.new_zeros(u.shape[0], u.shape[1], A.shape[1]), []
    for t in range(u.shape[2]):
        step = delta[:, :, t, None]
        h = torch.exp(step * A) * h + step * B[:, None, :, t] * u[:, :, t, None]
        steps.append((h * C[:, None, :, t]).sum(-1) + D * u[:, :, t])
    return torch.stack(steps, 2)


def scan_sequences(sequences: list[Tensor], s: State) -> list[Tensor]:
    """The scans of K sequences (B, D, L) with the K sets of parameters that VMamba's code keeps stacked."""
    count, rank = len(sequences), s["dt_projs_weight"].shape[2]
    A_logs, Ds = s["A_logs"].unflatten(0, (count, -1)), s["Ds"].unflatten(0, (count, -1))
    states, results = A_logs.shape[2], []
    for k, u in enumerate(sequences):
        dt, B, C = (s["x_proj_weight"][k] @ u).split([rank, states, states], 1)
        dt = s["dt_projs_weight"][k] @ dt
        results.append(scan(u, dt, A_logs[k], B, C, Ds[k], s["dt_projs_bias"][k]))
    return results


def cross_scan(x: Tensor, s: State) -> Tensor:
    """VMamba's four scans of a map (B, D, H, W), summed."""
    h, w = x.shape[2:]
    rows, columns = x.flatten(2), x.transpose(2, 3).flatten(2)
    a, b, c, d = scan_sequences([rows, columns, rows.flip(-1), columns.flip(-1)], s)
    by_rows, by_columns = a + c.flip(-1), b + d.flip(-1)
    return by_rows.unflatten(2, (h, w)) + by_columns.unflatten(2, (w, h)).transpose(2, 3)


def layer_norm(x: Tensor, s: State, name: str, eps: float = 1e-5) -> Tensor:
    """A layer norm over the last axis."""
    return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], eps)


def batch_norm(x: Tensor, s: State, name: str) -> Tensor:
    """A batch norm of a map with stored statistics."""
    running = (s[f"{name}.running_mean"], s[f"{name}.running_var"])
    return F.batch_norm(x, *running, s[f"{name}.weight"], s[f"{name}.bias"])


def conv(x: Tensor, s: State, name: str, groups: int = 1, stride: int = 1) -> Tensor:
    """A convolution that keeps the size where its stride is 1."""
    weight = s[f"{name}.weight"]
    return F.conv2d(x, weight, s.get(f"{name}.bias"), stride, weight.shape[-1] // 2, groups=groups)


def ss2d(x: Tensor, s: State, scan_map: Callable[[Tensor, State], Tensor] = cross_scan) -> tuple[Tensor, Tensor]:
    """VMamba's mixer on (B, H, W, C) up to its gate: the scans' normed sum, channels last, and the gate."""
    y, z = F.linear(x, s["in_proj.weight"]).chunk(2, -1)
    y = F.silu(conv(y.movedim(-1, 1), s, "conv2d", groups=y.shape[-1]))
    return layer_norm(scan_map(y, s).movedim(1, -1), s, "out_norm"), F.silu(z)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """ShuffleNet's order of the last axis."""
    return x.reshape(*x.shape[:-1], groups, -1).transpose(-1, -2).reshape(x.shape)


def microscopic_block(x: Tensor, s: State, swap: bool) -> Tensor:
    """Microscopic-Mamba's block on (B, H, W, C), in evaluation mode; swapped axes as in the authors' code or not."""
    left, right = x.chunk(2, -1)
    half = left.shape[-1]
    y = batch_norm(left.movedim(-1, 1), s, "Conv_branch.0")
    y = F.relu(batch_norm(conv(y, s, "Conv_branch.1", half), s, "Conv_branch.2"))
    y = F.relu(batch_norm(conv(y, s, "Conv_branch.4", half), s, "Conv_branch.5"))
    near = F.relu(batch_norm(conv(y, s, "Conv_branch.7"), s, "Conv_branch.8"))

    mixer, groups = part(s, "pvm_layer.mamba."), []
    for given in layer_norm(right, s, "pvm_layer.norm").chunk(4, -1):
        scanned, gate = ss2d(given, mixer)
        z = F.silu(conv((scanned * gate).movedim(-1, 1), mixer, "PSFFN.conv_0"))
        quarter = z.shape[1] // 4
        z = torch.cat((F.silu(conv(z[:, :quarter], mixer, "PSFFN.conv_1", quarter)), z[:, quarter:]), 1)
        z = shuffled(z.movedim(1, -1), z.shape[1] // 2)
        z = (z.transpose(1, 2) if swap else z) + given
        groups.append(z + s["pvm_layer.skip_scale"] * given)
    far = layer_norm(torch.cat(groups, -1), s, "pvm_layer.norm")
    far = shuffled(far, half // 2).movedim(-1, 1)

    by_near = torch.sigmoid(F.relu(conv(near, s, "MIFA.DWConv", half)))
    by_far = torch.sigmoid(F.gelu(conv(far, s, "MIFA.DWConv", half)))
    out = shuffled(torch.cat((by_near * far, by_far * near), 1).movedim(1, -1), half // 2)
    return out * torch.sigmoid(s["MIFA.attention.conv.weight"].flatten() * out.mean((1, 2), keepdim=True))


def mamba(x: Tensor, s: State) -> Tensor:
    """Mamba's layer on a sequence of tokens (B, L, C)."""
    u, z = F.linear(x, s["in_proj.weight"]).movedim(-1, 1).chunk(2, 1)
    return F.linear(mamba_inner(u, z, s).movedim(1, -1), s["out_proj.weight"])


def mamba_inner(u: Tensor, z: Tensor, s: State, name: str = "") -> Tensor:
    """Mamba's layer between its outer projections: u and z (B, D, L); a suffix tells its parameters' names."""
    weight, states = s[f"conv1d{name}.weight"], s[f"A_log{name}"].shape[1]
    taps = weight.shape[-1]
    u = F.silu(F.conv1d(F.pad(u, (taps - 1, 0)), weight, s[f"conv1d{name}.bias"], groups=u.shape[1]))
    projected = s[f"x_proj{name}.weight"] @ u
    dt, B, C = projected.split([projected.shape[1] - 2 * states, states, states], 1)
    dt = s[f"dt_proj{name}.weight"] @ dt
    return scan(u, dt, s[f"A_log{name}"], B, C, s[f"D{name}"], s[f"dt_proj{name}.bias"]) * F.silu(z)


def channel_gate(x: Tensor, s: State, name: str) -> Tensor:
    """The gate of LocalMamba and EfficientVMamba on (B, *S, C)."""
    mean = layer_norm(x, s, f"{name}.norm").flatten(1, -2).mean(1)
    mean = F.gelu(F.linear(mean, s[f"{name}.global_reduce.weight"], s[f"{name}.global_reduce.bias"]))
    gate = torch.sigmoid(F.linear(mean, s[f"{name}.channel_select.weight"], s[f"{name}.channel_select.bias"]))
    return x * gate.reshape(x.shape[0], *(1,) * (x.dim() - 2), -1)


def atrous_scan(x: Tensor, s: State) -> Tensor:
    """EfficientVMamba's four scans of a map (B, D, H, W) with even sides, each over one lattice of stride 2."""
    h, w = x.shape[2] // 2, x.shape[3] // 2
    turned = x.transpose(2, 3)
    lattices = [x[:, :, ::2, ::2], turned[:, :, ::2, 1::2], x[:, :, ::2, 1::2], turned[:, :, 1::2, 1::2]]
    a, b, c, d = scan_sequences([lattice.flatten(2) for lattice in lattices], s)
    y = torch.empty_like(x)
    y[:, :, ::2, ::2], y[:, :, ::2, 1::2] = a.unflatten(2, (h, w)), c.unflatten(2, (h, w))
    y[:, :, 1::2, ::2] = b.unflatten(2, (w, h)).transpose(2, 3)
    y[:, :, 1::2, 1::2] = d.unflatten(2, (w, h)).transpose(2, 3)
    return y


def efficient_block(x: Tensor, s: State) -> Tensor:
    """EfficientVMamba's block on (B, H, W, C), in evaluation mode."""
    normed = layer_norm(x, s, "norm")
    far, gate = ss2d(normed, part(s, "op."), atrous_scan)
    far = F.linear(far * gate, s["op.out_proj.weight"])
    near = F.gelu(batch_norm(conv(normed.movedim(-1, 1), s, "conv_branch.0", x.shape[-1]), s, "conv_branch.1"))
    near = conv(near, s, "conv_branch.3").movedim(1, -1)
    return x + channel_gate(far, s, "se") + channel_gate(near, s, "se")


def inverted_residual(x: Tensor, s: State) -> Tensor:
    """MobileNetV2's block with squeeze-and-excitation on (B, C, H, W), in evaluation mode."""
    y = F.relu(batch_norm(conv(x, s, "conv_pw.0"), s, "conv_pw.1"))
    y = F.relu(batch_norm(conv(y, s, "conv_dw.0", y.shape[1]), s, "conv_dw.1"))
    mean = F.relu(conv(y.mean((2, 3), keepdim=True), s, "se.conv_reduce"))
    y = y * torch.sigmoid(conv(mean, s, "se.conv_expand"))
    return x + batch_norm(conv(y, s, "conv_pw2.0"), s, "conv_pw2.1")


def patch_merging(x: Tensor, s: State, name: str) -> Tensor:
    """VMamba's patch merging on (B, H, W, C) with even sides."""
    cells = torch.cat((x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]), -1)
    return F.linear(layer_norm(cells, s, f"{name}.norm"), s[f"{name}.reduction.weight"])


def snakes(height: int, width: int) -> list[tuple[list[int], list[int]]]:
    """PlainMamba's four walks: places, and moves as its authors number them (start, right, left, up, down)."""
    rows = [(i, j if i % 2 == 0 else width - 1 - j) for i in range(height) for j in range(width)]
    columns = [(i if j % 2 == 0 else height - 1 - i, j) for j in range(width) for i in range(height)]
    numbers, walks = {(0, 1): 1, (0, -1): 2, (-1, 0): 3, (1, 0): 4}, []
    for walk in (rows, rows[::-1], columns, columns[::-1]):
        steps = zip(walk, walk[1:], strict=False)
        moves = [0, *(numbers[(b[0] - a[0], b[1] - a[1])] for a, b in steps)]
        walks.append(([i * width + j for i, j in walk], moves))
    return walks


def plain_mixer(x: Tensor, s: State) -> Tensor:
    """PlainMamba's mixer as its authors wrote it, on (B, H, W, C): dt, B and C stay in the order of rows."""
    height, width = x.shape[1:3]
    u, z = F.linear(x, s["in_proj.weight"], s["in_proj.bias"]).chunk(2, -1)
    u = F.silu(conv(u.movedim(-1, 1), s, "conv2d", u.shape[-1])).flatten(2)
    projected, states = s["x_proj.weight"] @ u, s["A_log"].shape[1]
    dt, B, C = projected.split([projected.shape[1] - 2 * states, states, states], 1)
    dt, y = s["dt_proj.weight"] @ dt + s["dt_proj.bias"][:, None], torch.zeros_like(u)
    for places, moves in snakes(height, width):
        found = scan(u[:, :, places], dt, s["A_log"], B + s["direction_Bs"][moves].T, C, s["D"], s["dt_proj.bias"])
        y[:, :, places] += found
    gated = y.unflatten(2, (height, width)).movedim(1, -1) * F.silu(z)
    return F.linear(gated, s["out_proj.weight"], s["out_proj.bias"])


def read_places(x: Tensor, places: list[int]) -> Tensor:
    """Positions of (B, D, L) in an order, zeros at L."""
    return F.pad(x, (0, 1))[:, :, places]


def write_places(y: Tensor, places: list[int], count: int) -> Tensor:
    """The inverse of `read_places`."""
    x = y.new_zeros(*y.shape[:2], count + 1)
    x[:, :, places] = y
    return x[:, :, :count]


def places_scan(x: Tensor, s: State, ways: list[list[int]]) -> list[Tensor]:
    """The scans of a map (B, D, H, W) along given orders of its places, each put back: (B, D, H * W)."""
    found = scan_sequences([read_places(x.flatten(2), places) for places in ways], s)
    return [write_places(y, places, x[0, 0].numel()) for y, places in zip(found, ways, strict=True)]
