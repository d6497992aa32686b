"""VM-DDPM against its equations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.nets import VMDDPM
from tests.networks.equations import State, conv, layer_norm, part, places_scan, ss2d
from tests.networks.randomised import randomised


def snake_scan(x: Tensor, s: State) -> Tensor:
    """Rows and columns both ways, every second line backwards, summed."""
    h, w = x.shape[2:]
    rows = [i * w + (w - 1 - j if i % 2 else j) for i in range(h) for j in range(w)]
    columns = [(h - 1 - i if j % 2 else i) * w + j for j in range(w) for i in range(h)]
    ways = [rows, columns, rows[::-1], columns[::-1]]
    return torch.stack(places_scan(x, s, ways)).sum(0).unflatten(2, (h, w))


def state_space_layer(x: Tensor, embedded: Tensor, s: State) -> Tensor:
    """VM-DDPM's layer: a residual block and a VSS block, both told the step."""

    def told(y: Tensor, name: str) -> Tensor:
        project = part(s, f"{name}step.project.1.")
        return y + F.linear(F.silu(embedded), project["weight"], project["bias"])[:, :, None, None]

    def normed(y: Tensor, name: str) -> Tensor:
        groups = y.shape[1] // 4
        return F.silu(F.group_norm(y, groups, s[f"{name}.weight"], s[f"{name}.bias"]))

    y = told(conv(normed(x, "local.norm1"), s, "local.conv1"), "local.")
    y = conv(normed(y, "local.norm2"), s, "local.conv2")
    y = told((conv(x, s, "local.skip") if "local.skip.weight" in s else x) + y, "").movedim(1, -1)
    mixer = part(s, "block.mixer.")
    mixer = {**mixer, "conv2d.weight": mixer["conv.weight"], "conv2d.bias": mixer["conv.bias"]}
    scanned, gate = ss2d(layer_norm(y, s, "block.norm"), mixer, snake_scan)
    return (y + F.linear(scanned * gate, mixer["out_proj.weight"])).movedim(-1, 1)


def test_vm_ddpm_follows_its_equations() -> None:
    net = randomised(VMDDPM(2, 1, 2, condition_channels=1, dims=[8, 16], depths=[1, 1]))
    s, x, mask, t = net.state_dict(), torch.randn(2, 1, 6, 4), torch.randn(2, 1, 6, 4), torch.tensor([3.0, 870.0])
    angles = t[:, None] * 10000 ** (-torch.arange(4) / 4)
    embedded = F.linear(torch.cat((angles.cos(), angles.sin()), 1), s["steps.0.weight"], s["steps.0.bias"])
    embedded = F.linear(F.silu(embedded), s["steps.2.weight"], s["steps.2.bias"])

    high = state_space_layer(conv(torch.cat((x, mask), 1), s, "stem"), embedded, part(s, "encoder.0.0."))
    low = state_space_layer(conv(high, s, "downs.0", stride=2), embedded, part(s, "encoder.1.0."))
    y = state_space_layer(low, embedded, part(s, "middle.0."))
    # a residual block without scan, which the layers above have been compared with
    y = net.middle[1](y, embedded)
    y = state_space_layer(torch.cat((y, low), 1), embedded, part(s, "decoder.0.0."))
    y = conv(y.repeat_interleave(2, 2).repeat_interleave(2, 3), s, "ups.0")
    y = state_space_layer(torch.cat((y, high), 1), embedded, part(s, "decoder.1.0."))
    y = F.silu(F.group_norm(y, 2, s["norm.weight"], s["norm.bias"]))
    torch.testing.assert_close(net(x, t, mask), conv(y, s, "head"), atol=1e-4, rtol=1e-4)
