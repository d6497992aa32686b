"""Functions on tensors: the selective scan, causal convolution and scan orders."""

from __future__ import annotations

from medmamba_monai.ops.backends import available_backends
from medmamba_monai.ops.causal_conv1d import causal_conv1d, causal_conv1d_step
from medmamba_monai.ops.grid_scan import grid_selective_scan
from medmamba_monai.ops.linear_ssm import (
    dense_kernel,
    diagonal_kernel,
    diagonal_scan,
    discretise,
    dplr_system,
    fft_convolution,
)
from medmamba_monai.ops.mamba3 import Mamba3State, mamba3_scan
from medmamba_monai.ops.scan_order import ScanOrder, scan_order
from medmamba_monai.ops.selective_scan import bidirectional_selective_scan, selective_scan
from medmamba_monai.ops.state_space_dual import scalar_decay_scan, state_space_dual
from medmamba_monai.ops.zero_order_hold import selective_scan_step

__all__ = [
    "Mamba3State",
    "ScanOrder",
    "available_backends",
    "bidirectional_selective_scan",
    "causal_conv1d",
    "causal_conv1d_step",
    "dense_kernel",
    "diagonal_kernel",
    "diagonal_scan",
    "discretise",
    "dplr_system",
    "fft_convolution",
    "grid_selective_scan",
    "mamba3_scan",
    "scalar_decay_scan",
    "scan_order",
    "selective_scan",
    "selective_scan_step",
    "state_space_dual",
]
