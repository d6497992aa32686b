"""How the authors of the VSS networks name their parameters, as rules for `convert`."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from medmamba_monai.networks.nets import (
    MHSVM,
    MambaUNet,
    MSVMUNet,
    SliceMamba,
    SwinUMamba,
    SwinUMambaD,
    UltraLightVMUNet,
    VMamba,
    VMUNet,
    VMUNetV2,
)

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

_MIXER: Rules = (
    (r"\.ln_1\.", ".norm."),
    (r"\.(self_attention|op)\.", ".mixer."),
    (r"\.mixer\.conv2d\.", ".mixer.conv."),
)
_ENCODER: Rules = (
    (r"^patch_embed\.", "encoder.patch_embed."),
    (r"^layers\.(\d+)\.blocks\.", r"encoder.stages.\1."),
    (r"^layers\.(\d+)\.downsample\.1\.", r"encoder.merges.\1.conv."),
    (r"^layers\.(\d+)\.downsample\.3\.", r"encoder.merges.\1.norm."),
    (r"^layers\.(\d+)\.downsample\.", r"encoder.merges.\1."),
    *_MIXER,
)
_PATCH: Rules = ((r"patch_embed\.0\.", "patch_embed.proj."), (r"patch_embed\.2\.", "patch_embed.norm."))
_OVERLAP: Rules = (
    (r"patch_embed\.0\.", "patch_embed.conv1."),
    (r"patch_embed\.2\.", "patch_embed.norm1."),
    (r"patch_embed\.5\.", "patch_embed.conv2."),
    (r"patch_embed\.7\.", "patch_embed.norm2."),
)
_VSSM: Rules = (
    (r"^vssm_encoder\.patch_embed\.", "encoder.patch_embed."),
    (r"^vssm_encoder\.layers\.(\d+)\.blocks\.", r"encoder.stages.\1."),
    (r"^vssm_encoder\.downsamples\.", "encoder.merges."),
    *_MIXER,
)
LIGHT: Rules = (
    (r"^ebn(\d)\.", lambda found: f"frame.encoder_norms.{int(found[1]) - 1}."),
    (r"^dbn(\d)\.", lambda found: f"frame.decoder_norms.{int(found[1]) - 1}."),
    (r"^final\.", "frame.head."),
    (r"^scab\.catt\.get_all_att\.", "frame.bridge.mix."),
    (r"^scab\.catt\.att(\d)\.", lambda found: f"frame.bridge.weights.{int(found[1]) - 1}."),
    (r"^scab\.satt\.shared_conv2d\.0\.", "frame.bridge.places."),
)
_VM_UNET: Rules = (
    (r"^vmunet\.", ""),
    (r"^layers_up\.0\.blocks\.", "bottom."),
    (r"^layers_up\.(\d+)\.blocks\.", lambda found: f"decoder.stages.{int(found[1]) - 1}."),
    (r"^layers_up\.(\d+)\.upsample\.", lambda found: f"decoder.expands.{int(found[1]) - 1}."),
    (r"^final_up\.", "head.expand."),
    (r"^final_conv\.", "head.conv."),
    *_ENCODER,
)
_RULES: dict[type[nn.Module], Rules] = {
    VMamba: (*_ENCODER, (r"^classifier\.(norm|head)\.", r"\1.")),
    VMUNet: _VM_UNET,
    SliceMamba: ((r"^smunet\.", ""), *_VM_UNET),
    MHSVM: (
        *_VM_UNET,
        (r"\.mhs\.x_ssproj(_W$|\.weight$)", ".to_heads.weight"),
        # the authors register each head's scan twice
        (
            r"\.mhs\.scanhead_([CXSZ])\.(mambaeng|scanning\.seq2seq_engine)\.",
            lambda found: f".heads.{'CXSZ'.index(found[1])}.",
        ),
        (r"\.mhs\.cat_norm\.", ".head_norm."),
        (r"\.mhs\.y_proj\.", ".from_heads."),
    ),
    MambaUNet: (
        (r"^mamba_unet\.", ""),
        (r"^layers_up\.0\.", "decoder.expands.0."),
        (r"^layers_up\.(\d+)\.blocks\.", lambda found: f"decoder.stages.{int(found[1]) - 1}."),
        (r"^layers_up\.(\d+)\.upsample\.", r"decoder.expands.\1."),
        (r"^concat_back_dim\.(\d+)\.", lambda found: f"decoder.fuses.{int(found[1]) - 1}."),
        (r"^up\.", "head.expand."),
        (r"^output\.", "head.conv."),
        *_ENCODER,
    ),
    SwinUMamba: (
        (r"^stem\.1\.", "stem.2."),
        *_VSSM,
        (r"^encoder(\d)\.layer\.", lambda found: f"decoder.skips.{int(found[1]) - 1}."),
        (r"^decoder1\.layer\.", "decoder.last."),
        (r"^decoder(\d)\.transp_conv\.conv\.", lambda found: f"decoder.ups.{6 - int(found[1])}.up."),
        (r"^decoder(\d)\.conv_block\.", lambda found: f"decoder.ups.{6 - int(found[1])}.block."),
        (r"\.conv([12])\.conv\.", r".conv\1."),
        (r"\.conv3\.conv\.", ".shortcut.0."),
        (r"^out_layers\.(\d)\.conv\.conv\.", lambda found: f"heads.{3 - int(found[1])}."),
    ),
    SwinUMambaD: (
        *_VSSM,
        (r"^decoder\.expand_layers\.3\.", "heads.3.expand."),
        (r"^decoder\.expand_layers\.", "decoder.expands."),
        (r"^decoder\.stages\.(\d)\.blocks\.", r"decoder.stages.\1."),
        (r"^decoder\.seg_layers\.3\.", "heads.3.conv."),
        (r"^decoder\.seg_layers\.", "heads."),
        (r"^decoder\.concat_back_dim\.", "decoder.fuses."),
    ),
    MSVMUNet: (
        (r"^encoder\.layer([01])\.0\.", lambda found: f"encoder.patch_embed.conv{int(found[1]) + 1}."),
        (r"^encoder\.layer([01])\.2\.", lambda found: f"encoder.patch_embed.norm{int(found[1]) + 1}."),
        (r"^encoder\.downsamples\.(\d)\.1\.", r"encoder.merges.\1.conv."),
        (r"^encoder\.downsamples\.(\d)\.3\.", r"encoder.merges.\1.norm."),
        (r"^encoder\.layers\.(\d)\.blocks\.", r"encoder.stages.\1."),
        (r"^decoder\.layers\.(\d)\.up\.", r"decoder.expands.\1."),
        (r"^decoder\.layers\.(\d)\.concat_layer\.", r"decoder.fuses.\1."),
        (r"^decoder\.layers\.(\d)\.vss_layer\.blocks\.", r"decoder.stages.\1."),
        (r"^decoder\.out_layers\.0\.out\.", "head.conv."),
        (r"^decoder\.out_layers\.0\.", "head.expand."),
        (r"\.expand\.([13])\.", lambda found: f".expand.{int(found[1]) + 1}."),
        (r"\.multiscale_conv\.dw_convs\.", ".convs."),
        *_MIXER,
    ),
    UltraLightVMUNet: (
        *LIGHT,
        (r"^encoder(\d)\.0\.", lambda found: f"frame.encoder.{int(found[1]) - 1}."),
        (r"^decoder(\d)\.0\.", lambda found: f"frame.decoder.{int(found[1]) - 1}."),
        (r"^decoder(\d)\.(?=weight|bias)", lambda found: f"frame.decoder.{int(found[1]) - 1}."),
    ),
    VMUNetV2: (
        (r"^vmunet\.patch_embed\.", "encoder.patch_embed."),
        (r"^vmunet\.layers\.(\d)\.blocks\.", r"encoder.stages.\1."),
        (r"^vmunet\.layers\.(\d)\.downsample\.", r"encoder.merges.\1."),
        (r"^ca_(\d)\.", lambda found: f"attentions.{int(found[1]) - 1}."),
        (r"^sa_(\d)\.conv1\.", lambda found: f"attentions.{int(found[1]) - 1}.places."),
        (r"^Translayer_(\d)\.bn\.", lambda found: f"projections.{int(found[1]) - 1}.norm."),
        (r"^Translayer_(\d)\.", lambda found: f"projections.{int(found[1]) - 1}."),
        (r"^sdi_(\d)\.", lambda found: f"products.{int(found[1]) - 1}."),
        (r"^deconv([234])\.", lambda found: f"ups.{int(found[1]) - 2}."),
        (r"^deconv6\.", "up_head."),
        (r"^seg_outs\.([23])\.", lambda found: f"heads.{3 - int(found[1])}."),
        *_MIXER,
    ),
}


_UNUSED: dict[type[nn.Module], tuple[str, ...]] = {
    VMUNetV2: ("vmunet.layers.3.", "seg_outs.0.", "seg_outs.1.", "deconv5."),
}


def is_unused(network: nn.Module, key: str) -> bool:
    """Whether the authors' code holds this tensor without ever using it, and our network does not have it."""
    return key.startswith(_UNUSED.get(type(network), ("\0",)))


def renamer(network: nn.Module) -> Callable[[str], str] | None:
    """The function that renames the authors' keys for a network of this family, None for other networks."""
    rules = _RULES.get(type(network))
    if rules is None:
        return None
    stem = _stem(network)
    return lambda key: apply((*stem, *rules), key)


def encoder_key(encoder: nn.Module, key: str) -> str:
    """Our name of a tensor of VMamba's checkpoint, starting with "encoder." where it is one of the encoder's."""
    return key if key.startswith("encoder.") else apply((*_stem(encoder), *_RULES[VMamba]), key)


def _stem(network: nn.Module) -> Rules:
    return _OVERLAP if any("patch_embed.conv1." in key for key in network.state_dict()) else _PATCH


def apply(rules: Rules, key: str) -> str:
    """Apply every rule once, in order.

    Example:
        >>> apply(((r"^layers[.]", "stages."),), "layers.0.weight")
        'stages.0.weight'
    """
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
