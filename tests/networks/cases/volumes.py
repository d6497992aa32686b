"""Networks made for volumes: segmentation, pretraining and registration."""

from __future__ import annotations

from typing import Any

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
    "mambamorph_2d": ("MambaMorph", {"spatial_dims": 2, "dim": 8, "levels": 2, "head_channels": 4, "steps": 2}),
    "mambamorph_3d": (
        "MambaMorph",
        {"spatial_dims": 3, "features": True, "dim": 8, "levels": 2, "head_channels": 4, "steps": 2},
    ),
    "vmambamorph_3d": (
        "VMambaMorph",
        {"spatial_dims": 3, "dim": 8, "depths": [1, 1], "head_channels": 4, "steps": 2, "rounds": 2},
    ),
    "tmamba_3d": ("TMamba", {"spatial_dims": 3, "units": [1, 1, 1], "channels": 4, "skips": [4, 4, 4]}),
    "tmamba_tables_2d": (
        "TMamba",
        {"spatial_dims": 2, "units": [1, 1, 1], "channels": 4, "skips": [4, 4, 4], "img_size": [16, 24]},
    ),
    "cams_net_2d": (
        "CAMSNet",
        {"spatial_dims": 2, "features": [4, 8], "spatial_stages": 1, "img_size": 16, "dropout": 0.0},
    ),
    "nnmamba_3d": ("NnMamba", {"spatial_dims": 3, "channels": 4, "blocks": 2}),
    "nnmamba_released_2d": ("NnMamba", {"spatial_dims": 2, "channels": 4, "blocks": 2, "head": "released"}),
    "nnmamba_classifier_3d": ("NnMambaClassifier", {"spatial_dims": 3, "channels": 4, "blocks": 1}),
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
}
