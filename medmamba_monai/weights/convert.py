"""The authors' checkpoints, turned into state dicts that load strictly."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai.networks.nets import MedMamba, UMamba
from medmamba_monai.weights import (
    backbone_rules,
    generation_rules,
    hybrid_rules,
    restoration_rules,
    vim_rules,
    volume_rules,
    vss_rules,
)

logger = logging.getLogger(__name__)

_CONTAINERS = ("network_weights", "state_dict", "model_state_dict", "model", "network", "net")
_WRAPPERS = ("module.", "_orig_mod.")
_SHOWN = 8
_WITH_UNUSED = (vss_rules, backbone_rules, hybrid_rules, volume_rules, restoration_rules, generation_rules)


class WeightsError(ValueError):
    """Weights that do not fit a network, or a file that holds none."""


def convert(state_dict: Mapping[str, Any], network: nn.Module) -> dict[str, Tensor]:
    """Rename and fold the keys of a checkpoint so that ``network.load_state_dict`` takes them strictly.

    Understands the authors' names of MedMamba, U-Mamba (bottleneck and encoder, 2D and 3D, of the released code and of
    the paper's) and of the other networks whose authors published code, mamba-ssm's ``Mamba`` and ``Mamba2``, S4, S4D
    and the PyTorch port of S5, and our own; checkpoints of nnU-Net trainers and other dicts that
    hold the weights under one key; prefixes left by DataParallel and torch.compile; and the copies of keys that
    U-Mamba's modules register twice.

    Args:
        state_dict: the checkpoint's content.
        network: the network to be filled; it is not changed.

    Returns:
        A state dict with exactly the network's keys.

    Raises:
        WeightsError: when keys are missing, unknown, of another shape or contradict each other; all of them are named
            in one message.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> sorted(convert({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, net))
        ['bias', 'weight']
    """
    state = unwrap(state_dict)
    own = network.state_dict()
    rename, foreign = _renamer(network), generation_rules.speaks_of_others(network, state)
    converted: dict[str, Tensor] = {}
    clashes, unused = [], []
    for key, value in state.items():
        key = _strip(key)
        if any(rules.is_unused(network, key) for rules in _WITH_UNUSED):
            unused.append(key)
            continue
        # our own names pass as they are: a checkpoint saved here converts to itself
        if foreign or key not in own:
            key = rename(key)
            value = restoration_rules.reshape(key, backbone_rules.reshape(network, key, value))
            value = generation_rules.reshape(network, key, value)
        if value.is_complex() and key in own and not own[key].is_complex():
            value = torch.view_as_real(value)
        if key in own and value.shape == (*own[key].shape, 1, 1):
            # a linear map of tokens that the authors' code holds as a pointwise convolution
            value = value[..., 0, 0]
        if key in converted and not _same(converted[key], value):
            clashes.append(key)
        converted.setdefault(key, value)
    if unused:
        logger.info("dropped %d entries that the authors' code holds but never uses: %s", len(unused), _some(unused))
    for key, value in own.items():
        if key.endswith("num_batches_tracked"):
            converted.setdefault(key, value)
    _report(converted, own, clashes, type(network).__name__)
    return {key: converted[key] for key in own}


def unwrap(content: Any) -> dict[str, Tensor]:
    """The state dict inside a checkpoint: tensors by name.

    Example:
        >>> unwrap({"model": {"weight": torch.ones(1)}})
        {'weight': tensor([1.])}
    """
    if not isinstance(content, Mapping):
        raise WeightsError(f"the checkpoint holds a {type(content).__name__}: give a dict of tensors by name")
    for name in _CONTAINERS:
        if isinstance(content.get(name), Mapping):
            return unwrap(content[name])
    odd = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if odd or not content:
        found = f"entries that are no tensors: {_some(odd)}" if odd else "nothing"
        raise WeightsError(f"the checkpoint holds {found}; give the dict of tensors by name that is inside it")
    return dict(content)


def _strip(key: str) -> str:
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key


def _renamer(network: nn.Module) -> Callable[[str], str]:
    if type(network) is UMamba:
        last = len(network.mixers) - 1
        return lambda key: _rename_umamba(key, last)
    if isinstance(network, MedMamba):
        return _rename_medmamba
    for rules in (vss_rules, vim_rules, *_WITH_UNUSED[1:]):
        rename: Callable[[str], str] | None = rules.renamer(network)
        if rename is not None:
            return rename
    return lambda key: key


def _rename_umamba(key: str, last_stage: int) -> str:
    key = key.removeprefix("decoder.") if key.startswith("decoder.encoder.") else key
    rules: vss_rules.Rules = (
        (r"\.all_modules\.0\.", ".conv."),
        (r"\.all_modules\.1\.", ".norm."),
        (r"\.conv([12])\.conv\.", r".conv\1."),
        (r"\.conv([12])\.norm\.", r".norm\1."),
        (r"\.conv3\.", ".shortcut."),
        # the code of the paper, before April 2024
        (r"^encoder\.stem\.convs\.0\.conv\.", "stem.0."),
        (r"^encoder\.stem\.convs\.0\.norm\.", "stem.2."),
        (r"\.skip\.(\d)\.conv\.", r".shortcut.\1."),
        (r"\.skip\.(\d)\.norm\.", lambda found: f".shortcut.{int(found[1]) + 2}."),
        (r"^((?:en|de)coder\.stages\.\d+)\.blocks\.", r"\1."),
        (r"^decoder\.transpconvs\.", "up."),
        (r"^ln\.", f"mixers.{last_stage}.norm."),
        (r"^mamba\.", f"mixers.{last_stage}.mamba."),
        (r"^encoder\.stem\.", "stem."),
        (r"^encoder\.stages\.", "encoder."),
        (r"^encoder\.mamba_layers\.", "mixers."),
        (r"^mamba_layer\.", f"mixers.{last_stage}."),
        (r"^decoder\.stages\.", "decoder."),
        (r"^decoder\.upsample_layers\.(\d+)\.conv\.", r"up.\1."),
        (r"^decoder\.seg_layers\.", "heads."),
    )
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


_CONV_BRANCH = {"0": "norm1", "1": "conv1", "2": "norm2", "4": "conv2", "5": "norm3", "7": "conv3"}


def _rename_medmamba(key: str) -> str:
    rules = (
        (r"^layers\.(\d+)\.blocks\.", r"stages.\1."),
        (r"^layers\.(\d+)\.downsample\.", r"merges.\1."),
        (r"\.ln_1\.", ".norm."),
        (r"\.self_attention\.", ".mixer."),
        (r"\.mixer\.conv2d\.", ".mixer.conv."),
    )
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return re.sub(
        r"\.conv33conv33conv11\.([012457])\.", lambda found: f".conv_branch.{_CONV_BRANCH[found.group(1)]}.", key
    )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _report(converted: Mapping[str, Tensor], own: Mapping[str, Tensor], clashes: list[str], name: str) -> None:
    missing = [key for key in own if key not in converted]
    unused = [key for key in converted if key not in own]
    shapes = [
        f"{key} {tuple(converted[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in converted and converted[key].shape != own[key].shape
    ]
    faults = (
        ("missing", missing),
        ("unknown", unused),
        ("of another shape", shapes),
        ("given twice with different values", clashes),
    )
    found = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in faults if keys]
    if found:
        raise WeightsError(
            f"the checkpoint does not fit this {name} ({len(own)} entries); {'; '.join(found)}. Build the network with "
            "the arguments that the weights were trained with"
        )


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
