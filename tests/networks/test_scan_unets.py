"""U-Nets with scans of their own against their equations, on weights under the authors' names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.nets import (
    MHSVM,
    SliceMamba,
)
from medmamba_monai.weights import convert
from tests.networks import equations, path_equations
from tests.networks.equations import part
from tests.networks.named_weights import (
    Shapes,
    drawn,
    load,
    norm,
    ss2d,
)


def vm_unet_shapes(prefix: str, mixer: Callable[[str, int], Shapes]) -> Shapes:
    """Names and shapes of a VM-UNet with two stages of 8 and 16 channels and one block in each."""
    shapes: Shapes = {
        "patch_embed.proj.weight": (8, 3, 4, 4),
        "patch_embed.proj.bias": (8,),
        "layers.0.downsample.reduction.weight": (16, 32),
        "layers_up.1.upsample.expand.weight": (32, 16),
        "final_up.expand.weight": (32, 8),
        "final_conv.weight": (1, 2, 1, 1),
        "final_conv.bias": (1,),
    }
    for name, channels in (("patch_embed.norm", 8), ("layers.0.downsample.norm", 32), ("layers_up.1.upsample.norm", 8)):
        shapes |= norm(name, channels)
    shapes |= norm("final_up.norm", 2)
    for name, channels in (("layers.0", 8), ("layers.1", 16), ("layers_up.0", 16), ("layers_up.1", 8)):
        block = f"{name}.blocks.0."
        shapes |= norm(f"{block}ln_1", channels) | mixer(f"{block}self_attention.", channels)
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def heads_shapes(prefix: str, channels: int) -> Shapes:
    head, shapes = channels // 4, ss2d(prefix, channels, channels)
    stacked = ("x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds")
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith((*stacked, "out_proj.weight"))}
    shapes |= norm(f"{prefix}mhs.cat_norm", channels)
    shapes |= {f"{prefix}mhs.{name}": (channels, channels) for name in ("x_ssproj.weight", "y_proj.weight")}
    for pattern in "CXSZ":
        own = ss2d(f"{prefix}mhs.scanhead_{pattern}.mambaeng.", head, head)
        shapes |= {name: shape for name, shape in own.items() if name.endswith(stacked)}
    return shapes


SMALL = {"depths": [1, 1], "depths_decoder": [1, 1], "dims": [8, 16]}


def test_slice_mamba() -> None:
    state = drawn(vm_unet_shapes("smunet.", lambda prefix, channels: ss2d(prefix, channels, 2 * channels)))
    net, x = load(SliceMamba(2, 3, 1, strips=[[2, 4]], **SMALL), state), torch.randn(2, 4, 8, 8)
    s = part(state, "smunet.layers.0.blocks.0.self_attention.")

    def scan_map(u: Tensor, own: dict[str, Tensor]) -> Tensor:
        ways = path_equations.strips(4, 8, 2, 4)
        return torch.stack(equations.places_scan(u, own, ways)).sum(0).unflatten(2, (4, 8))

    mixed, gate = equations.ss2d(x, s, scan_map)
    expected = F.linear(mixed * gate, s["out_proj.weight"])
    torch.testing.assert_close(net.encoder.stages[0][0].mixer(x), expected, atol=1e-4, rtol=1e-4)
    assert net(torch.randn(1, 3, 30, 17)).shape == (1, 1, 30, 17)


def test_slice_mamba_takes_strips_block_by_block() -> None:
    net = SliceMamba(2, 3, 1, strips=[[2, 2], [2, 4], [4, 2], [4, 4]], **SMALL)
    stages = [net.encoder.stages[0], net.encoder.stages[1], net.bottom, net.decoder.stages[0]]
    names = [stage[0].mixer.order.name for stage in stages]
    pairs = [(2, 2), (2, 4), (4, 2), (4, 4)]
    assert names == [f"strips:{h},h+-strips:{h},h+strips:{w},w+-strips:{w},w" for h, w in pairs]
    with pytest.raises(ValueError, match=r"strips has the entry \[2\]"):
        SliceMamba(2, strips=[[2]])


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_mhs_vm(threshold: float) -> None:
    state = drawn(vm_unet_shapes("vmunet.", heads_shapes))
    doubled = {key.replace(".mambaeng.", ".scanning.seq2seq_engine."): value for key, value in state.items()}
    net = MHSVM(2, 3, 1, heads=4, threshold=threshold, **SMALL)
    net.load_state_dict(convert({**doubled, **state}, net), strict=True)
    x = torch.randn(2, 6, 6, 8)
    expected = path_equations.multi_head_mixer(x, part(state, "vmunet.layers.0.blocks.0.self_attention."), threshold)
    torch.testing.assert_close(net.encoder.stages[0][0].mixer(x), expected, atol=1e-4, rtol=1e-4)
