"""Random weights under the authors' names, for comparisons with equations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.weights import convert
from tests.networks import equations

Shapes = dict[str, tuple[int, ...]]


def drawn(shapes: Shapes) -> dict[str, Tensor]:
    """Weights for names and shapes: norms near one, variances positive, the rest small."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        value = 0.3 * torch.randn(shape, generator=generator)
        near_one = len(shape) == 1 and name.endswith(("weight", "Ds", ".D"))
        state[name] = value.abs() + 0.5 if name.endswith("running_var") else value + 1 if near_one else value
    return state


def load(net: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    net.load_state_dict(convert(state, net), strict=True)
    return net.eval()


def norm(name: str, channels: int, batch: bool = False) -> Shapes:
    kept = ("weight", "bias", "running_mean", "running_var") if batch else ("weight", "bias")
    return {f"{name}.{kind}": (channels,) for kind in kept}


def ss2d(prefix: str, channels: int, inner: int, sequences: int = 4, d_state: int = 16) -> Shapes:
    """Names and shapes of VMamba's first mixer."""
    rank = -(-channels // 16)
    return {
        f"{prefix}in_proj.weight": (2 * inner, channels),
        f"{prefix}conv2d.weight": (inner, 1, 3, 3),
        f"{prefix}conv2d.bias": (inner,),
        f"{prefix}x_proj_weight": (sequences, rank + 2 * d_state, inner),
        f"{prefix}dt_projs_weight": (sequences, inner, rank),
        f"{prefix}dt_projs_bias": (sequences, inner),
        f"{prefix}A_logs": (sequences * inner, d_state),
        f"{prefix}Ds": (sequences * inner,),
        **norm(f"{prefix}out_norm", inner),
        f"{prefix}out_proj.weight": (channels, inner),
    }


def mamba_shapes(prefix: str, dim: int, d_state: int = 16, suffix: str = "") -> Shapes:
    """Names and shapes of a Mamba layer between its outer projections."""
    inner, rank = 2 * dim, -(-dim // 16)
    return {
        f"{prefix}conv1d{suffix}.weight": (inner, 1, 4),
        f"{prefix}conv1d{suffix}.bias": (inner,),
        f"{prefix}x_proj{suffix}.weight": (rank + 2 * d_state, inner),
        f"{prefix}dt_proj{suffix}.weight": (inner, rank),
        f"{prefix}dt_proj{suffix}.bias": (inner,),
        f"{prefix}A_log{suffix}": (inner, d_state),
        f"{prefix}D{suffix}": (inner,),
    }


def projections(prefix: str, dim: int, bias: bool = False) -> Shapes:
    """Names and shapes of a mixer's outer projections."""
    shapes: Shapes = {f"{prefix}in_proj.weight": (4 * dim, dim), f"{prefix}out_proj.weight": (dim, 2 * dim)}
    return {**shapes, f"{prefix}in_proj.bias": (4 * dim,), f"{prefix}out_proj.bias": (dim,)} if bias else shapes


def frame(dims: list[int], classes: int = 3) -> Shapes:
    """Names and shapes around the blocks of a classifier in VMamba's first form, with patches of side 4."""
    shapes: Shapes = {"patch_embed.0.weight": (dims[0], 3, 4, 4), "patch_embed.0.bias": (dims[0],)}
    shapes |= norm("patch_embed.2", dims[0]) | norm("classifier.norm", dims[-1])
    return shapes | {"classifier.head.weight": (classes, dims[-1]), "classifier.head.bias": (classes,)}


def gate_shapes(prefix: str, channels: int) -> Shapes:
    middle = channels // 8
    return {
        **norm(f"{prefix}norm", channels),
        f"{prefix}global_reduce.weight": (middle, channels),
        f"{prefix}global_reduce.bias": (middle,),
        f"{prefix}channel_select.weight": (channels, middle),
        f"{prefix}channel_select.bias": (channels,),
    }


def embedded(x: Tensor, s: dict[str, Tensor]) -> Tensor:
    """VMamba's first patch embedding."""
    y = F.conv2d(x, s["patch_embed.0.weight"], s["patch_embed.0.bias"], 4)
    return equations.layer_norm(y.movedim(1, -1), s, "patch_embed.2")


def classified(y: Tensor, s: dict[str, Tensor]) -> Tensor:
    """VMamba's classifier of a grid (B, H, W, C)."""
    pooled = equations.layer_norm(y, s, "classifier.norm").mean((1, 2))
    return F.linear(pooled, s["classifier.head.weight"], s["classifier.head.bias"])
