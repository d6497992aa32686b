"""U-Nets of VSS blocks and other scans of images."""

from __future__ import annotations

from typing import Any

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vm_unet_3d": ("VMUNet", {"spatial_dims": 3, "depths": [1, 1], "depths_decoder": [1, 1], "dims": [8, 16]}),
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
