"""Networks of bags, graphs and clips."""

from __future__ import annotations

from typing import Any

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mambamil": ("MambaMIL", {"dim": 8, "depth": 1, "rate": 3, "attention": 4}),
    "s4mil": ("S4MIL", {"dim": 8, "d_state": 4}),
    "mammil": ("MamMIL", {"dim": 8, "d_state": 4, "attention": 4}),
    "gat_mamba": ("GATMamba", {"hidden": 28, "position_channels": 4, "depth": 1, "head_dropout": 0.0}),
    "motion_tracker_2d": ("MotionHistoryTracker", {"spatial_dims": 2, "dim": 8, "depth": 1, "heads": 2}),
    "motion_tracker_3d": ("MotionHistoryTracker", {"spatial_dims": 3, "dim": 8, "depth": 1, "heads": 2}),
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
}
