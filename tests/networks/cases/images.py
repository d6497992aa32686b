"""Networks whose result is an image: restoration, reconstruction, fusion and synthesis."""

from __future__ import annotations

from typing import Any

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mambair_2d": ("MambaIR", {"spatial_dims": 2, "dim": 8, "depths": [1, 1], "drop_path_rate": 0.0}),
    "mambair_light_3d": (
        "MambaIR",
        {"spatial_dims": 3, "dim": 4, "depths": [1], "upsampler": "direct", "last_conv": "3conv"},
    ),
    "mambair_unet_2d": ("MambaIRUNet", {"spatial_dims": 2, "dim": 4, "depths": [1, 1], "refinement": 1}),
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
    "gfe_generator_2d": (
        "GFEGenerator",
        {
            "spatial_dims": 2,
            "img_size": [8, 16],
            "features": [4, 8],
            "fold": 1,
            "patch_size": 4,
            "dim": 8,
            "depth": 1,
            "heads": 2,
            "head_channels": 3,
            "mlp_dim": 8,
            "dropout": 0.0,
        },
    ),
    "gfe_mamba_3d": (
        "GFEMamba",
        {
            "spatial_dims": 3,
            "categories": [3, 2],
            "numbers": 2,
            "img_size": [8, 8, 12],
            "features": [4, 8],
            "feature_tokens": 2,
            "depth": 1,
            "heads": 2,
            "dropout": 0.0,
            "generator": {
                "fold": 2,
                "patch_size": 4,
                "dim": 8,
                "depth": 1,
                "heads": 2,
                "head_channels": 3,
                "mlp_dim": 8,
                "dropout": 0.0,
            },
        },
    ),
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
    "vm_ddpm_2d": ("VMDDPM", {"spatial_dims": 2, "dims": [8, 16], "depths": [1, 1]}),
    "vm_ddpm_condition_3d": (
        "VMDDPM",
        {"spatial_dims": 3, "dims": [8], "depths": [1], "condition_channels": 1},
    ),
}
