"""Small configurations of every network in the registry, as plain JSON, for the contract all of them keep."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai.networks import nets
from tests.networks.cases import backbones, images, sequences, unets, volumes

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **backbones.CASES,
    **unets.CASES,
    **volumes.CASES,
    **images.CASES,
    **sequences.CASES,
}
CLASSIFIERS = {
    "MambaMIL",
    "MamMIL",
    "S4MIL",
    "EfficientVMamba",
    "GFEMamba",
    "GATMamba",
    "LocalVMamba",
    "LocalVim",
    "MambaND",
    "MedMamba",
    "MicroscopicMamba",
    "NnMambaClassifier",
    "PlainMamba",
    "Vim",
    "Vim4Path",
    "VMamba",
}
# Networks that rounding moves further than others, and how far: the merge of MHS-VM divides by the differences between
# its scans, of which rounding leaves little where the scans agree.
ROUGH = {"mhs_vm_2d": 0.1}
_TABLES = "positions of curves, windows and lattices are computed when it is traced"
# why a TorchScript trace holds for the traced size only
TRACES_OF_ONE_SIZE = {
    **dict.fromkeys(
        ("mambamorph_2d", "mambamorph_3d", "vmambamorph_3d"),
        "MONAI's Warp writes into its grid, which a trace records with its size",
    ),
    "gat_mamba": "graphs are padded to the largest one when it is traced",
    "mammil": "Mamba-2's chunks are counted when it is traced",
    "mamba_mim_2d": "visible patches are counted when it is traced",
    "tp_mamba": "MONAI's attention keeps the number of tokens of a trace",
    **dict.fromkeys(("vmrnn", "vmrnn_basic"), "frames are counted when it is traced"),
    **dict.fromkeys(
        (
            "efficient_vmamba_2d",
            "efficient_vmamba_3d",
            "fusion_mamba_2d",
            "i2i_mamba_2d",
            "local_vmamba_2d",
            "local_vim_2d",
            "mhs_vm_2d",
            "plain_mamba_2d",
            "plain_mamba_3d",
            "slice_mamba_2d",
            "vm_ddpm_2d",
            "vm_ddpm_condition_3d",
        ),
        _TABLES,
    ),
}
# networks that take something other than one image
KINDS = {
    "FusionMamba": "images",
    "GATMamba": "nodes",
    "GFEMamba": "table",
    "MambaDFuse": "images",
    "MambaMIL": "bag",
    "MambaMorph": "pair",
    "MambaRecon": "kspace",
    "MDDose": "noise",
    "MambaMIM": "masked",
    "MamMIL": "graph",
    "MotionHistoryTracker": "history",
    "S4MIL": "bag",
    "VMambaMorph": "pair",
    "VMRNN": "clip",
    "VMDDPM": "noise",
}
# for networks that halve an image so often that one voxel would be left, which no scan mixes
SIZES = {"nnmamba_3d": (17, 10, 18), "vmrnn": (2, 10, 7), "vmrnn_basic": (2, 10, 7)}
ODD_SIZES = {1: (37,), 2: (23, 18), 3: (9, 14, 11)}


def arguments(case: str) -> dict[str, Any]:
    """All constructor arguments of a case."""
    name, given = CASES[case]
    if KINDS.get(name) in ("pair", "images", "clip", "history", "masked"):
        return {"in_channels": 2, **given}
    if KINDS.get(name) == "kspace":
        return given
    return {"in_channels": 2, "num_classes" if name in CLASSIFIERS else "out_channels": 3, **given}


def classifies(case: str) -> bool:
    """Whether the network of a case gives one row of logits an image instead of a map."""
    return CASES[case][0] in CLASSIFIERS


def build(case: str, **overrides: Any) -> nn.Module:
    """The network of a case, with the same weights each time."""
    torch.manual_seed(0)
    net: nn.Module = getattr(nets, CASES[case][0])(**{**arguments(case), **overrides})
    return net


def image(case: str, batch: int = 2, size: tuple[int, ...] | None = None) -> Tensor:
    """An input of an odd size."""
    size = size or ODD_SIZES[CASES[case][1]["spatial_dims"]]
    return torch.randn(batch, 2, *size, generator=torch.Generator().manual_seed(1))


def trained(net: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters a loss must reach: all, but for U-Mamba's side heads where deep supervision is not in use.

    These heads always exist, so that a network built without deep supervision takes the weights of one built with it.
    And but for the rates of H-vmunet's later scans: its start makes their inputs, products of products, so small that
    third powers of them leave the range of single precision.
    """
    if isinstance(net, nets.HVMUNet):
        rates = (".dt_projs_weight", ".dt_projs_bias", ".x_proj_weight", ".A_logs")
        return [(k, p) for k, p in net.named_parameters() if not (".scans.1." in k and k.endswith(rates))]
    if isinstance(net, nets.TPMamba):
        # the transformer is frozen, and what is added to it starts with zeros behind everything else
        behind = ("query_down.weight", "value_down.weight", ".down.weight", "adapters.")
        named = [(k, p) for k, p in net.named_parameters() if p.requires_grad]
        return [(k, p) for k, p in named if k.endswith("up.weight") or not any(part in k for part in behind)]
    unused = () if getattr(net, "deep_supervision", True) and net.training else ("heads.",)
    last = f"heads.{len(getattr(net, 'heads', [])) - 1}."
    return [(k, p) for k, p in net.named_parameters() if k.startswith(last) or not k.startswith(unused)]
