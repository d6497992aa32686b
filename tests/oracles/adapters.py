"""The authors' constructor arguments, translated to ours; used with the numerical oracles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.nets import MedMamba, UMamba
from medmamba_monai.networks.nets.umamba_variants import released_block_counts
from medmamba_monai.weights import convert
from tests.oracles import adapters_cores, adapters_hybrid, adapters_vim, adapters_volumes, adapters_vss


def build(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    """Build our network of an oracle from the constructor arguments of its upstream class."""
    if name in adapters_cores.NAMES:
        return adapters_cores.build(name, ctor)
    if name in adapters_vim.NAMES:
        return adapters_vim.build(name, ctor)
    if name in adapters_hybrid.NAMES:
        return adapters_hybrid.build(name, ctor)
    if name in adapters_vss.NAMES:
        return adapters_vss.build(name, ctor)
    if name in adapters_volumes.NAMES:
        return adapters_volumes.build(name, ctor)
    if name.startswith("umamba"):
        return _umamba(name, ctor)
    return {"mamba1": _mamba, "medmamba": _medmamba}[name](ctor)


def load(network: nn.Module, upstream: Mapping[str, Tensor]) -> dict[str, str]:
    """Fill a network strictly with upstream's state and return {our key: upstream's key}."""
    state = convert(upstream, network)
    network.load_state_dict(state, strict=True)
    # by memory, not by object: complex tensors become views of pairs
    names = {value.data_ptr(): key for key, value in reversed(upstream.items())}
    return {key: names[value.data_ptr()] for key, value in state.items() if value.data_ptr() in names}


def _mamba(ctor: Mapping[str, Any]) -> nn.Module:
    known = ("d_model", "d_state", "d_conv", "expand", "dt_rank", "dt_min", "dt_max", "bias", "conv_bias")
    return Mamba(**{key: ctor[key] for key in known if key in ctor})


def _medmamba(ctor: Mapping[str, Any]) -> nn.Module:
    depths = ctor.get("depths", [2, 2, 4, 2])
    dims = ctor.get("dims", [96, 192, 384, 768])
    if isinstance(dims, int):
        dims = [dims * 2**stage for stage in range(len(depths))]
    d_state = ctor.get("d_state", 16)
    return MedMamba(
        2,
        ctor.get("in_chans", 3),
        max(ctor.get("num_classes", 1000), 0),
        depths=depths,
        dims=dims,
        patch_size=ctor.get("patch_size", 4),
        d_state=-(-dims[0] // 6) if d_state is None else d_state,
        drop_path_rate=ctor.get("drop_path_rate", 0.1),
        patch_norm=ctor.get("patch_norm", True),
        odd_sizes="crop",
    )


def _umamba(name: str, ctor: Mapping[str, Any]) -> nn.Module:
    two_d, encoder = name.endswith("2d"), "enc" in name
    strides = ctor.get("strides", ctor.get("strides(pool_op_kernel_sizes)"))
    kernels = ctor["kernel_sizes"]
    stages = len(kernels)
    if "features_per_stage" in ctor:
        features = ctor["features_per_stage"]
    else:
        base, largest = ctor["UNet_base_num_features"], ctor["unet_max_num_features"]
        features = [min(base * 2**stage, largest) for stage in range(stages)]
    arguments: dict[str, Any] = {}
    if encoder:
        arguments["channel_tokens"] = True
        arguments["img_size"] = ctor.get("input_size", ctor.get("patch_size"))
        if two_d:
            arguments["mamba_stages"] = list(range(1 - stages % 2, stages, 2))
    if isinstance(ctor.get("norm_op_kwargs"), Mapping):
        arguments["norm"] = ("instance", dict(ctor["norm_op_kwargs"]))
    given = ctor.get("n_conv_per_stage", ctor.get("n_conv_per_stage_encoder(as given)", 2))
    given_up = ctor.get("n_conv_per_stage_decoder", ctor.get("n_conv_per_stage_decoder(as given)", 2))
    return UMamba(
        2 if two_d else 3,
        ctor["input_channels"],
        ctor["num_classes"],
        features=features,
        strides=strides,
        kernel_sizes=kernels,
        n_blocks=_lowered(given, released_block_counts(stages)[0]),
        n_decoder_blocks=_lowered(given_up, released_block_counts(stages)[1]),
        variant="encoder" if encoder else "bottleneck",
        top_skip=not two_d,
        deep_supervision=ctor.get("deep_supervision", False),
        **arguments,
    )


def _lowered(given: Any, released: list[int]) -> list[int]:
    """The authors' constructor keeps the given count where the released table keeps its own, and sets 1 elsewhere."""
    counts = [given] * len(released) if isinstance(given, int) else list(given)
    return [1 if limit == 1 else count for count, limit in zip(counts, released, strict=True)]
