"""Backbones that classify or give pyramids."""

from __future__ import annotations

from typing import Any

CASES: dict[str, tuple[str, dict[str, Any]]] = {
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
    "efficient_vmamba_3d": (
        "EfficientVMamba",
        {"spatial_dims": 3, "depths": [1, 1], "dims": [8, 16], "scan_stages": 1, "drop_path_rate": 0.0},
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
    "plain_mamba_3d": (
        "PlainMamba",
        {
            "spatial_dims": 3,
            "img_size": 8,
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
    "microscopic_mamba_2d": ("MicroscopicMamba", {"spatial_dims": 2, "depths": [1, 1], "dims": [32, 64]}),
}
