"""How the authors of the 3D, restoration, registration and slide networks name their parameters, for `convert`."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from medmamba_monai.networks.blocks.nn_mamba import SiameseMambaBlock
from medmamba_monai.networks.layers.directed_mamba2 import DirectedMamba2
from medmamba_monai.networks.nets import S4MIL, MambaMIL, MamMIL, NnMamba, NnMambaClassifier, SegMamba, Vivim
from medmamba_monai.weights.vss_rules import Rules, apply

_NNMAMBA: Rules = (
    (r"^in_conv\.", "stem."),
    (r"^layer(\d)\.", lambda found: f"layers.{int(found[1]) - 1}."),
    (r"^layers\.(\d)\.\d+\.mamba_layer\.", r"layers.\1.mixer."),
    (r"^layers\.(\d)\.0\.", r"layers.\1.first."),
    (r"^layers\.(\d)\.(\d+)\.", lambda found: f"layers.{found[1]}.others.{int(found[2]) - 1}."),
    (r"^mamba_layer_stem\.", "mixer."),
    (r"mixer\.nin\.", "mixer.conv1."),
    (r"mixer\.nin2\.", "mixer.conv2."),
    (r"mixer\.norm\.", "mixer.norm1."),
    (r"\.bn([12])\.", r".norm\1."),
    (r"\.downsample\.0\.", ".shortcut.0."),
    (r"\.downsample\.1\.", ".shortcut.2."),
    (r"^att(\d)\.layer([12])\.", lambda found: f"scales.{int(found[1]) - 1}.fc{found[2]}."),
    (r"^conv8\.", "head."),
    (r"^conv([567])\.", lambda found: f"fuses.{int(found[1]) - 5}."),
    # each convolution is followed by a step that the authors do not have
    (r"\.conv\.([0134])\.", lambda found: f".{ {'0': 0, '1': 2, '3': 4, '4': 6}[found[1]] }."),
    (r"^mlp\.", "head."),
)
_BAG: Rules = (
    (r"^(_fc1|ft_head)\.", "project."),
    (r"^layers\.(\d+)\.0\.", r"norms.\1."),
    (r"^layers\.(\d+)\.1\.", r"mixers.\1."),
    (r"^s4_block\.0\.", "norm."),
    (r"^s4_block\.1\.", "mixer."),
    (r"^attention\.", "pool.score."),
    (r"^classifier\.", "head."),
)
_DIRECTED: Rules = (
    (r"\b(conv1d|dt_bias|A_log|D)_list\.(\d)\b", r"directions.\2.\1"),
    # the authors' layer with one order and two directions
    (r"^conv1d_b\.", "directions.1.conv1d."),
    (r"^(A_log|D)_b$", r"directions.1.\1"),
    (r"^dt_b_bias$", "directions.1.dt_bias"),
    (r"^(conv1d\.|dt_bias$|A_log$|D$)", r"directions.0.\1"),
)
_RULES: dict[type[nn.Module], Rules] = {
    SiameseMambaBlock: ((r"^nin\.", "conv1."), (r"^nin2\.", "conv2."), (r"^norm\.", "norm1.")),
    MambaMIL: _BAG,
    S4MIL: _BAG,
    MamMIL: (
        *_BAG,
        *_DIRECTED,
        (r"^ppeg\.(\d+)\.conv\.aggr_module\.t$", r"convs.\1.t"),
        (r"^ppeg\.(\d+)\.conv\.mlp\.0\.", r"convs.\1.fc1."),
        (r"^ppeg\.(\d+)\.conv\.mlp\.1\.", r"convs.\1.norm1."),
        (r"^ppeg\.(\d+)\.conv\.mlp\.4\.", r"convs.\1.fc2."),
        (r"^ppeg\.(\d+)\.norm\.", r"convs.\1.norm2."),
    ),
    DirectedMamba2: _DIRECTED,
    NnMamba: _NNMAMBA,
    NnMambaClassifier: _NNMAMBA,
    Vivim: (
        (r"^encoder\.downsample_layers\.patch_embeddings\.(\d)\.proj\.", r"patches.\1."),
        (r"^encoder\.downsample_layers\.patch_embeddings\.(\d)\.layer_norm\.", r"patch_norms.\1."),
        (r"^encoder\.downsample_layers\.block\.", "blocks."),
        (r"\.layer_norm_([12])\.", r".norm\1."),
        (r"\.attention\.self\.sr\.", ".attention.shrink."),
        (r"\.attention\.self\.layer_norm\.", ".attention.norm."),
        (r"\.attention\.self\.", ".attention."),
        (r"\.attention\.output\.dense\.", ".attention.proj."),
        (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
        (r"\.dwconv\.dwconv\.", ".conv."),
        (r"^encoder\.stages\.(\d)\.(\d+)\.0\.", r"mixers.\1.\2."),
        (r"^(mixers\.\d\.\d+)\.norm1\.", r"\1.mix.norm."),
        (r"^(mixers\.\d\.\d+)\.mamba\.", r"\1.mix.mamba."),
        (r"^(mixers\.\d\.\d+)\.norm2\.", r"\1.norm."),
        (r"^decoder\.linear_c\.(\d)\.proj\.", r"decoder.linears.\1."),
        (r"^decoder\.linear_fuse\.", "decoder.fuse."),
        (r"^decoder\.batch_norm\.", "decoder.norm."),
        (r"^out\.", "head."),
    ),
    SegMamba: (
        (r"^vit\.downsample_layers\.0\.0\.", "stem."),
        (r"^vit\.downsample_layers\.(\d)\.1\.", lambda found: f"downs.{int(found[1]) - 1}."),
        (r"^vit\.gscs\.(\d)\.(proj\d?)\.", r"stages.\1.0.\2."),
        (r"^vit\.stages\.(\d)\.(\d+)\.", lambda found: f"stages.{found[1]}.{int(found[2]) + 1}."),
        (r"^vit\.mlps\.", "mlps."),
        (r"^encoder(\d)\.layer\.", lambda found: f"skips.{int(found[1]) - 1}."),
        (r"^decoder1\.layer\.", "last."),
        (r"^decoder(\d)\.transp_conv\.conv\.", lambda found: f"ups.{5 - int(found[1])}.up."),
        (r"^decoder(\d)\.conv_block\.", lambda found: f"ups.{5 - int(found[1])}.block."),
        (r"\.conv([12])\.conv\.", r".conv\1."),
        (r"\.conv3\.conv\.", ".shortcut.0."),
        (r"^out\.conv\.conv\.", "head."),
    ),
}
# Tensors that the authors' code holds without ever using them: none of ours correspond to them.
_UNUSED: dict[type[nn.Module], str] = {
    Vivim: r"encoder\.downsample_layers\.layer_norm\.|decoder\.classifier\.",
}


def is_unused(network: nn.Module, key: str) -> bool:
    """Whether the authors' code holds this tensor without ever using it, and our network does not have it."""
    if isinstance(network, MamMIL):
        # the authors' code never runs its last layer
        return key.startswith(f"layers.{len(network.mixers)}.")
    pattern = _UNUSED.get(type(network))
    return pattern is not None and re.match(pattern, key) is not None


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of these families, None for other networks."""
    rules = _RULES.get(type(network))
    return None if rules is None else lambda key: apply(rules, key)
