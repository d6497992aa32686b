"""The place of a Triton kernel for GPUs."""

from __future__ import annotations


def unavailable() -> str:
    """Always a reason: the kernel does not exist yet."""
    return "a Triton kernel is not part of this version: on CUDA use mamba-ssm's kernel or the chunked backend"
