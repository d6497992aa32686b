"""Small configurations of every network in the registry, as plain JSON, for the contract all of them keep."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medmamba_monai.networks import nets

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "umamba_bottleneck_2d": ("UMamba", {"spatial_dims": 2, "features": [4, 8, 12]}),
    "umamba_encoder_3d": (
        "UMamba",
        {
            "spatial_dims": 3,
            "features": [4, 8, 8],
            "strides": [1, [1, 2, 2], 2],
            "kernel_sizes": [[1, 3, 3], 3, 3],
            "n_blocks": [1, 2, 1],
            "n_decoder_blocks": 1,
            "variant": "encoder",
            "deep_supervision": True,
        },
    ),
    "umamba_paper_3d": (
        "UMamba",
        {"spatial_dims": 3, "features": [4, 8, 8], "design": "paper", "n_blocks": 1, "n_decoder_blocks": 1},
    ),
    "medmamba_2d": ("MedMamba", {"spatial_dims": 2, "depths": [1, 1, 1], "dims": [8, 16, 32]}),
    "medmamba_3d": ("MedMamba", {"spatial_dims": 3, "depths": [1, 1], "dims": [8, 16], "patch_size": 2}),
    "vmamba_first_2d": ("VMamba", {"spatial_dims": 2, "depths": [1, 1], "dims": [8, 16]}),
    "vmamba_current_3d": (
        "VMamba",
        {
            "spatial_dims": 3,
            "depths": [1, 1],
            "dims": [8, 16],
            "d_state": 1,
            "gate": False,
            "conv_bias": False,
            "embed": "overlap",
            "merge": "conv",
            "mlp_ratio": 2.0,
        },
    ),
    "vm_unet_2d": ("VMUNet", {"spatial_dims": 2, "depths": [1, 1], "depths_decoder": [1, 1], "dims": [8, 16]}),
    "mamba_unet_2d": ("MambaUNet", {"spatial_dims": 2, "depths": [1, 1], "dims": [8, 16]}),
    "mamba_unet_3d": ("MambaUNet", {"spatial_dims": 3, "depths": [1, 1], "dims": [4, 8], "order": "raster"}),
    "swin_umamba_2d": (
        "SwinUMamba",
        {"spatial_dims": 2, "depths": [1, 1], "dims": [8, 16], "drop_path_rate": 0.0, "deep_supervision": True},
    ),
    "swin_umamba_d_2d": (
        "SwinUMambaD",
        {
            "spatial_dims": 2,
            "depths": [1, 1],
            "dims": [8, 16],
            "decoder_depth": 1,
            "drop_path_rate": 0.0,
            "deep_supervision": True,
        },
    ),
    "msvm_unet_2d": ("MSVMUNet", {"spatial_dims": 2, "depths": [1, 1], "dims": [8, 16], "decoder_depth": 1}),
    "lightm_unet_2d": (
        "LightMUNet",
        {"spatial_dims": 2, "init_filters": 8, "groups": 4, "blocks_down": [1, 1], "blocks_up": [1]},
    ),
    "lightm_unet_3d": (
        "LightMUNet",
        {"spatial_dims": 3, "init_filters": 4, "groups": 2, "blocks_down": [1, 1], "blocks_up": [1]},
    ),
    "ultralight_vm_unet_2d": (
        "UltraLightVMUNet",
        {"spatial_dims": 2, "channels": [4, 8, 8], "mamba_stages": 1},
    ),
    "composed_unetr_2d": (
        "ComposedUNet",
        {
            "spatial_dims": 2,
            "core": "s6",
            "mixer": "sequence",
            "order": "bidirectional",
            "decoder": "unetr",
            "depths": [1, 1],
            "dims": [8, 16],
        },
    ),
    "lkm_unet_2d": (
        "LKMUNet",
        {"spatial_dims": 2, "features": [4, 8], "n_blocks": 1, "n_decoder_blocks": 1, "deep_supervision": True},
    ),
    "lkm_unet_released_3d": (
        "LKMUNet",
        {
            "spatial_dims": 3,
            "features": [4, 8],
            "n_blocks": 1,
            "n_decoder_blocks": 1,
            "windows": 1,
            "design": "released",
        },
    ),
    "vim_2d": ("Vim", {"spatial_dims": 2, "img_size": 16, "patch_size": 4, "dim": 12, "depth": 2}),
    "vim_rotary_3d": (
        "Vim",
        {
            "spatial_dims": 3,
            "img_size": 8,
            "patch_size": 4,
            "dim": 12,
            "depth": 2,
            "mixer": "paired",
            "pool": "mean",
            "positions": False,
            "rotary": True,
        },
    ),
    "vim4path_2d": ("Vim4Path", {"spatial_dims": 2, "img_size": 16, "patch_size": 4, "dim": 12, "depth": 2}),
    "mamba_nd_2d": (
        "MambaND",
        {"spatial_dims": 2, "img_size": 16, "patch_size": 4, "dim": 8, "depth": 4, "halve_after": [1]},
    ),
    "mamba_nd_3d": (
        "MambaND",
        {"spatial_dims": 3, "img_size": [8, 8, 12], "patch_size": [2, 4, 4], "dim": 8, "depth": 6},
    ),
    "efficient_vmamba_2d": (
        "EfficientVMamba",
        {"spatial_dims": 2, "depths": [1, 1], "dims": [8, 16], "scan_stages": 1, "drop_path_rate": 0.0},
    ),
    "plain_mamba_2d": (
        "PlainMamba",
        {
            "spatial_dims": 2,
            "img_size": 16,
            "patch_size": 4,
            "dim": 12,
            "depth": 2,
            "stem_channels": 4,
            "convolved": [0],
            "d_conv": 3,
        },
    ),
    "local_vmamba_2d": (
        "LocalVMamba",
        {"spatial_dims": 2, "depths": [1, 1], "dims": [8, 16], "order": ["hw+-wh+windows:2", "local:3"]},
    ),
    "local_vim_2d": (
        "LocalVim",
        {"spatial_dims": 2, "img_size": 16, "patch_size": 4, "dim": 12, "depth": 2, "order": "hw+-windows:2"},
    ),
    "mhs_vm_2d": (
        "MHSVM",
        {"spatial_dims": 2, "depths": [1, 1], "depths_decoder": [1, 1], "dims": [8, 16], "drop_path_rate": 0.0},
    ),
    "slice_mamba_2d": (
        "SliceMamba",
        {
            "spatial_dims": 2,
            "depths": [1, 1],
            "depths_decoder": [1, 1],
            "dims": [8, 16],
            "strips": [[2, 4], [4, 4], [2, 2]],
        },
    ),
    "microscopic_mamba_2d": ("MicroscopicMamba", {"spatial_dims": 2, "depths": [1, 1], "dims": [32, 64]}),
    "hy_mamba_2d": ("HyMamba", {"spatial_dims": 2, "channels": [4, 4, 8], "depths": [1, 1], "ratios": [2, 2]}),
    "hy_mamba_3d": (
        "HyMamba",
        {"spatial_dims": 3, "channels": [8, 8, 8], "depths": [1, 1], "ratios": [1, 2], "mamba_depth": 1},
    ),
    "mamba_mim_2d": (
        "MambaMIM",
        {
            "spatial_dims": 2,
            "channels": [4, 4, 8],
            "depths": [1, 1],
            "ratios": [2, 2],
            "mamba_depth": 1,
            "decoder_dim": 8,
        },
    ),
    "mambamil": ("MambaMIL", {"dim": 8, "depth": 1, "rate": 3, "attention": 4}),
    "s4mil": ("S4MIL", {"dim": 8, "d_state": 4}),
    "mammil": ("MamMIL", {"dim": 8, "d_state": 4, "attention": 4}),
    "mambamorph_2d": ("MambaMorph", {"spatial_dims": 2, "dim": 8, "levels": 2, "head_channels": 4, "steps": 2}),
    "mambamorph_3d": (
        "MambaMorph",
        {"spatial_dims": 3, "features": True, "dim": 8, "levels": 2, "head_channels": 4, "steps": 2},
    ),
    "vmambamorph_3d": (
        "VMambaMorph",
        {"spatial_dims": 3, "dim": 8, "depths": [1, 1], "head_channels": 4, "steps": 2, "rounds": 2},
    ),
    "mambair_2d": ("MambaIR", {"spatial_dims": 2, "dim": 8, "depths": [1, 1], "drop_path_rate": 0.0}),
    "mambair_light_3d": (
        "MambaIR",
        {"spatial_dims": 3, "dim": 4, "depths": [1], "upsampler": "direct", "last_conv": "3conv"},
    ),
    "mambair_unet_2d": ("MambaIRUNet", {"spatial_dims": 2, "dim": 4, "depths": [1, 1], "refinement": 1}),
    "tmamba_3d": ("TMamba", {"spatial_dims": 3, "units": [1, 1, 1], "channels": 4, "skips": [4, 4, 4]}),
    "tmamba_tables_2d": (
        "TMamba",
        {"spatial_dims": 2, "units": [1, 1, 1], "channels": 4, "skips": [4, 4, 4], "img_size": [16, 24]},
    ),
    "mambair_v2_2d": ("MambaIRv2", {"spatial_dims": 2, "dim": 8, "depths": [2], "heads": 2, "window_size": 4}),
    "mambair_v2_gated_3d": (
        "MambaIRv2",
        {"spatial_dims": 3, "dim": 6, "depths": [1], "heads": 2, "window_size": 3, "gated_mlp": True},
    ),
    "vmambair_2d": ("VmambaIR", {"spatial_dims": 2, "dim": 4, "depths": [1, 1], "refinement": 1}),
    "vmambair_3d": (
        "VmambaIR",
        {"spatial_dims": 3, "dim": 4, "depths": [1, 1], "refinement": 1, "channel_width": 1, "bias": True},
    ),
    "fd_vision_mamba_2d": ("FDVisionMamba", {"spatial_dims": 2, "depth": 2, "side": 6}),
    "fd_vision_mamba_3d": ("FDVisionMamba", {"spatial_dims": 3, "depth": 1, "side": 4}),
    "uvm_net_2d": ("UVMNet", {"spatial_dims": 2, "features": [4, 8], "side": 4}),
    "uvm_net_3d": ("UVMNet", {"spatial_dims": 3, "features": [4, 4], "side": 3}),
    "mambamir_2d": ("MambaMIR", {"spatial_dims": 2, "dim": 8, "depths": [1, 1], "mask_inference": False}),
    "mambamir_patches_3d": (
        "MambaMIR",
        {"spatial_dims": 3, "dim": 4, "depths": [2], "patch_size": 2, "masked": 3, "mask_inference": False},
    ),
    "mambarecon_2d": ("MambaRecon", {"spatial_dims": 2, "dim": 8, "depths": [1]}),
    "fusion_mamba_2d": (
        "FusionMamba",
        {"spatial_dims": 2, "depths": [1, 1], "depths_decoder": [1, 1], "dims": [8, 16]},
    ),
    "i2i_mamba_2d": (
        "I2IMamba",
        {"spatial_dims": 2, "channels": 4, "blocks": 2, "mamba_blocks": [0]},
    ),
    "mamba_dfuse_2d": (
        "MambaDFuse",
        {"spatial_dims": 2, "dim": 8, "depth": 2, "swaps": 1, "fusions": 2, "reconstruction_depth": 1},
    ),
    "md_dose_2d": (
        "MDDose",
        {
            "spatial_dims": 2,
            "condition_channels": 3,
            "img_size": 16,
            "dim": 8,
            "depths": [1, 2],
            "depths_decoder": [2, 1],
            "drop_path_rate": 0.0,
        },
    ),
    "md_dose_plain_3d": (
        "MDDose",
        {
            "spatial_dims": 3,
            "condition_channels": 0,
            "img_size": 8,
            "dim": 12,
            "depths": [1, 1],
            "depths_decoder": [1, 1],
            "drop_path_rate": 0.0,
        },
    ),
    "cams_net_2d": (
        "CAMSNet",
        {"spatial_dims": 2, "features": [4, 8], "spatial_stages": 1, "img_size": 16, "dropout": 0.0},
    ),
    "gat_mamba": ("GATMamba", {"hidden": 28, "position_channels": 4, "depth": 1, "head_dropout": 0.0}),
    "nnmamba_3d": ("NnMamba", {"spatial_dims": 3, "channels": 4, "blocks": 2}),
    "nnmamba_released_2d": ("NnMamba", {"spatial_dims": 2, "channels": 4, "blocks": 2, "head": "released"}),
    "nnmamba_classifier_3d": ("NnMambaClassifier", {"spatial_dims": 3, "channels": 4, "blocks": 1}),
    "motion_tracker_2d": ("MotionHistoryTracker", {"spatial_dims": 2, "dim": 8, "depth": 1, "heads": 2}),
    "motion_tracker_3d": ("MotionHistoryTracker", {"spatial_dims": 3, "dim": 8, "depth": 1, "heads": 2}),
    "segmamba_2d": ("SegMamba", {"spatial_dims": 2, "features": [4, 8], "depths": [1, 1], "hidden_size": 8}),
    "segmamba_3d": ("SegMamba", {"spatial_dims": 3, "features": [4, 6], "depths": [1, 1], "hidden_size": 6}),
    "tp_mamba": (
        "TPMamba",
        {
            "spatial_dims": 3,
            "img_size": 16,
            "patch_size": 4,
            "hidden_size": 8,
            "mlp_dim": 12,
            "num_layers": 3,
            "num_heads": 2,
            "rank": 2,
            "features": 4,
        },
    ),
    "vivim": (
        "Vivim",
        {
            "spatial_dims": 3,
            "dims": [4, 8],
            "depths": [1, 1],
            "mamba_depths": [1, 1],
            "heads": [1, 2],
            "reductions": [2, 1],
            "decoder_dim": 8,
            "drop_path_rate": 0.0,
        },
    ),
    "vmrnn": (
        "VMRNN",
        {
            "spatial_dims": 3,
            "out_frames": 1,
            "design": "deep",
            "dim": 8,
            "depths": [1],
            "drop_path_rate": 0.0,
        },
    ),
    "vmrnn_basic": (
        "VMRNN",
        {
            "spatial_dims": 3,
            "out_frames": 1,
            "patch_size": 4,
            "dim": 16,
            "depths": [1],
            "drop_path_rate": 0.0,
        },
    ),
    "vm_ddpm_2d": ("VMDDPM", {"spatial_dims": 2, "dims": [8, 16], "depths": [1, 1]}),
    "vm_ddpm_condition_3d": (
        "VMDDPM",
        {"spatial_dims": 3, "dims": [8], "depths": [1], "condition_channels": 1},
    ),
    "vivim_edges": (
        "Vivim",
        {
            "spatial_dims": 3,
            "dims": [4],
            "depths": [1],
            "mamba_depths": [1],
            "heads": [1],
            "reductions": [1],
            "decoder_dim": 8,
            "edges": True,
            "drop_path_rate": 0.0,
        },
    ),
    "vm_unet_v2_2d": ("VMUNetV2", {"spatial_dims": 2, "depths": [1], "dims": [32, 64], "mid_channels": 4}),
    "vim_unet_2d": (
        "ViMUNet",
        {"spatial_dims": 2, "img_size": 16, "patch_size": 4, "dim": 12, "depth": 2, "channels": 4},
    ),
    "vim_unet_released_3d": (
        "ViMUNet",
        {
            "spatial_dims": 3,
            "img_size": 8,
            "patch_size": 2,
            "dim": 12,
            "depth": 1,
            "channels": 4,
            "upsample": "linear",
            "design": "released",
        },
    ),
    "hc_mamba_2d": (
        "HCMamba",
        {"spatial_dims": 2, "depths": [1, 1], "depths_decoder": [1, 1], "dims": [8, 16], "dilations": [1, 2]},
    ),
    "mucm_net_2d": ("MUCMNet", {"spatial_dims": 2, "channels": [4, 8, 8], "parts": 2, "deep_supervision": True}),
    "p_mamba_2d": (
        "PMamba",
        {"spatial_dims": 2, "img_size": 16, "depths": [1, 2], "dims": [8, 16], "channels": 4},
    ),
    "h_vmunet_2d": (
        "HVMUNet",
        {"spatial_dims": 2, "channels": [4, 4, 8], "depths": [1], "orders": [2], "layer_scale": 1.0},
    ),
    "hmt_unet_2d": (
        "HMTUNet",
        {
            "spatial_dims": 2,
            "depths": [1, 1, 2],
            "dim": 8,
            "in_dim": 4,
            "num_heads": [1, 2, 2],
            "window_size": [4, 4, 2],
        },
    ),
    "hmt_unet_released_3d": (
        "HMTUNet",
        {
            "spatial_dims": 3,
            "depths": [1, 2],
            "dim": 8,
            "in_dim": 4,
            "num_heads": [1, 2],
            "window_size": [2, 3],
            "design": "released",
        },
    ),
}
CLASSIFIERS = {
    "MambaMIL",
    "MamMIL",
    "S4MIL",
    "EfficientVMamba",
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
# why a TorchScript trace holds for the traced size only
# Networks that rounding moves further than others, and how far: the merge of MHS-VM divides by the differences between
# its scans, of which rounding leaves little where the scans agree.
ROUGH = {"mhs_vm_2d": 0.1}
_TABLES = "positions of curves, windows and lattices are computed when it is traced"
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
            "fusion_mamba_2d",
            "i2i_mamba_2d",
            "local_vmamba_2d",
            "local_vim_2d",
            "mhs_vm_2d",
            "plain_mamba_2d",
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
