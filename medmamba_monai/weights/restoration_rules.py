"""How the authors of later restoration networks name their parameters, for `convert`."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor, nn

from medmamba_monai.networks.nets import FDVisionMamba, MambaIRv2, UVMNet, VmambaIR
from medmamba_monai.weights.vss_rules import Rules, apply

# The U-Net of Restormer, which several networks took over with its names.
UNET: Rules = (
    (r"^patch_embed\.proj\.", "patch_embed."),
    (r"^encoder_level(\d)\.", lambda found: f"encoder.{int(found[1]) - 1}."),
    (r"^latent\.", "encoder.3."),
    (r"^down(\d)_\d\.body\.0\.", lambda found: f"downs.{int(found[1]) - 1}.conv."),
    (r"^up\d_(\d)\.body\.0\.", lambda found: f"ups.{3 - int(found[1])}.conv."),
    (r"^reduce_chan_level(\d)\.", lambda found: f"fuses.{3 - int(found[1])}."),
    (r"^decoder_level(\d)\.", lambda found: f"decoder.{3 - int(found[1])}."),
    (r"^output\.", "head."),
)
_RESIZED: Rules = (
    (r"\.convb\.0\.", ".conv1."),
    (r"\.convb\.2\.", ".conv2."),
    (r"\.ln\.", ".norm."),
)
_RULES: dict[type[nn.Module], Rules] = {
    MambaIRv2: (
        (r"^layers\.(\d+)\.residual_group\.layers\.", r"groups.\1."),
        (r"^layers\.(\d+)\.conv\.", r"convs.\1."),
        (r"\.wqkv\.", ".attention.qkv."),
        (r"\.win_mhsa\.", ".attention."),
        (r"\.assm\.selectiveScan\.", ".mixer."),
        (r"\.assm\.embeddingB\.weight$", ".mixer.prompts_left"),
        (r"\.embeddingA\.weight$", ".mixer.prompts_right"),
        (r"\.assm\.in_proj\.0\.", ".mixer.in_proj."),
        (r"\.assm\.CPE\.0\.", ".mixer.conv."),
        (r"\.assm\.", ".mixer."),
        (r"\.convffn([12])\.", r".mlp\1."),
        (r"\.dwconv\.depthwise_conv\.0\.", ".conv."),
        (r"\.sg\.", "."),
        (r"^patch_embed\.norm\.", "norm_first."),
        (r"^conv_after_body\.", "conv_body."),
    ),
    VmambaIR: (
        *UNET,
        (r"^tail\.0\.(\d)\.", lambda found: f"enlarge.{int(found[1]) // 2}.conv."),
        (r"^tail\.1\.", "head."),
        (r"norm([12]?)\.body\.", r"norm\1."),
        (r"\.attn\.", ".mixer."),
        (r"\.in_conv\.", ".in_proj."),
        (r"\.out_conv\.", ".out_proj."),
        (r"\.mixer\.conv2d\.", ".mixer.conv."),
        (r"\.conv_cin\.", ".channel_scan.widen."),
        (r"\.conv_cout\.", ".channel_scan.narrow."),
        (r"\.channel_norm\.", ".channel_scan.norm."),
        (r"\.xc_proj_weight$", ".channel_scan.x_proj_weight"),
        (r"\.dtc_projs_", ".channel_scan.dt_projs_"),
        (r"\.Ac_logs$", ".channel_scan.A_logs"),
        (r"\.Dsc$", ".channel_scan.Ds"),
        (r"\.ffn\.project_in\.", ".mlp.fc1."),
        (r"\.ffn\.dwconv\.", ".mlp.conv."),
        (r"\.ffn\.project_out\.", ".mlp.fc2."),
    ),
    FDVisionMamba: (
        *_RESIZED,
        (r"^feats\.", "blocks."),
        (r"\.model(\d)\.", lambda found: f".scans.{int(found[1]) - 1}."),
        (r"\.con1_(\d)\.", lambda found: f".convs.{int(found[1]) - 1}."),
        (r"\.cross_(\d)\.", lambda found: f".crosses.{int(found[1]) - 1}."),
    ),
    UVMNet: (
        (r"^inc\.", "encoder.0."),
        (r"^down(\d)\.maxpool_conv\.1\.", r"encoder.\1."),
        (r"^up(\d)\.conv\.", lambda found: f"decoder.{int(found[1]) - 1}."),
        (r"^outc\.conv\.", "head."),
        (r"\.ub\.", ".mixer."),
        *_RESIZED,
        (r"\.model1\.", ".places."),
        (r"\.model2\.", ".weigh."),
        (r"\.model3\.", ".channels."),
        (r"\.double_conv\.0\.", ".conv1."),
        (r"\.double_conv\.1\.", ".norm1."),
        (r"\.double_conv\.3\.", ".conv2."),
        (r"\.double_conv\.4\.", ".norm2."),
    ),
}
# Tensors that the authors' code holds without need: none of ours correspond to them.
_UNUSED: dict[type[nn.Module], str] = {MambaIRv2: r"relative_position_index_SA$"}


def is_unused(network: nn.Module, key: str) -> bool:
    """Whether the authors' code holds this tensor and our network does without it."""
    if isinstance(network, FDVisionMamba):
        return network.released and ".cross_2." in key
    pattern = _UNUSED.get(type(network))
    return pattern is not None and re.match(pattern, key) is not None


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of these families, None for other networks."""
    rules = _RULES.get(type(network))
    if rules is None:
        return None
    if isinstance(network, MambaIRv2):
        rules = (*rules, *head_rules(network.head))
    return lambda key: apply(rules, key)


def reshape(key: str, value: Tensor) -> Tensor:
    """A tensor of the authors' in the shape of ours; the key is ours."""
    # both directions of the scan along channels stand below each other in theirs
    return value.unflatten(0, (2, -1)) if key.endswith(("channel_scan.A_logs", "channel_scan.Ds")) else value


def head_rules(head: nn.Module) -> Rules:
    """Names of the end of MambaIR's networks, which depend on the way they enlarge."""
    if not isinstance(head, nn.Sequential):
        return ((r"^upsample\.0\.", "head.conv.") if hasattr(head, "scale") else (r"^conv_last\.", "head."),)
    steps = (r"^upsample\.(\d)\.", lambda found: f"head.1.{int(found[1]) // 2}.conv.")
    return ((r"^conv_before_upsample\.0\.", "head.0.0."), steps, (r"^conv_last\.", "head.2."))
