"""Starting an encoder of VSS blocks from a classifier's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medmamba_monai.networks.blocks.vss import VSSEncoder
from medmamba_monai.weights import vss_rules
from medmamba_monai.weights.convert import WeightsError, unwrap


class Loaded(NamedTuple):
    """Names of the encoder's tensors that kept their initial values, and of the checkpoint's that were not used."""

    kept: list[str]
    unused: list[str]


def load_encoder(encoder: VSSEncoder, state_dict: Mapping[str, Any]) -> Loaded:
    """Fill an encoder from a checkpoint of VMamba, in the names of its authors or ours.

    Blocks are taken by their place; a checkpoint with more blocks in a stage gives its first ones. Where the image has
    another number of channels, the kernels of the patch embedding are summed and shared out evenly, so that a grey
    image gives the same tokens whatever the number of its copies. Where the patch embedding has another form it keeps
    its initial values.

    Args:
        encoder: the encoder, filled in place, for example ``SwinUMamba(...).encoder``.
        state_dict: the checkpoint's content.

    Returns:
        What was not filled and what was not used.

    Raises:
        WeightsError: when the checkpoint lacks a tensor of a stage, or one has another shape.

    Example:
        >>> from medmamba_monai.networks.nets import VMamba, VMUNet
        >>> classifier = VMamba(2, 3, 5, depths=[1, 2], dims=[8, 16])
        >>> net = VMUNet(2, 1, 2, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16])
        >>> loaded = load_encoder(net.encoder, classifier.state_dict())
        >>> loaded.kept, sorted(loaded.unused)[0]
        ([], 'encoder.stages.1.1.mixer.A_logs')
    """
    given = {vss_rules.encoder_key(encoder, key): value for key, value in unwrap(state_dict).items()}
    own = encoder.state_dict()
    filled: dict[str, Tensor] = {}
    faults = []
    for key, value in own.items():
        found = given.get(f"encoder.{key}")
        if found is not None and found.shape == (*value.shape, 1, 1):
            found = found[..., 0, 0]
        if found is not None and found.shape != value.shape and key.startswith("patch_embed."):
            found = _other_channels(found, value)
        if found is not None and found.shape == value.shape:
            filled[key] = found
        elif not key.startswith("patch_embed."):
            faults.append(f"{key} {'is missing' if found is None else f'has shape {tuple(found.shape)}'}")
    if faults:
        raise WeightsError(
            f"the checkpoint does not fit this encoder: {', '.join(faults[:8])} ({len(faults)} in all); build the "
            "encoder with the dims, d_state, expand and gate that the weights were trained with"
        )
    encoder.load_state_dict(filled, strict=False)
    unused = [key for key in given if key.removeprefix("encoder.") not in filled]
    return Loaded([key for key in own if key not in filled], unused)


def _other_channels(kernel: Tensor, wanted: Tensor) -> Tensor | None:
    """A convolution's kernel for another number of input channels, None where it differs in more than that."""
    same = kernel.dim() == wanted.dim() and kernel.shape[0] == wanted.shape[0] and kernel.shape[2:] == wanted.shape[2:]
    if not same or kernel.dim() < 3:
        return None
    total = kernel.sum(1, keepdim=True)
    return (total / wanted.shape[1]).expand_as(wanted).to(torch.promote_types(kernel.dtype, wanted.dtype))
