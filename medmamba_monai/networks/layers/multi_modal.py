"""The layer of MambaDFuse's deep fusion: one Mamba whose output sums the scans of three sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import StepProjection, project
from medmamba_monai.networks.layers.precision import autocast_dtype, without_autocast
from medmamba_monai.networks.layers.vim import VimMamba
from medmamba_monai.ops import causal_conv1d


class MultiModalMamba(VimMamba):
    """Scan a fused sequence and those of its two modalities, each with projections of its own, and project the sum.

    MambaDFuse (arXiv 2404.08406), section 3.3 (M3 block). Parameter names are those of the authors' code.

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), at least 1.
        d_conv: taps of the causal convolutions, at least 1.
        expand: the inner width is ``int(expand * d_model)``.

    Shape:
        three sequences (B, L, d_model): the fused one, the second and the first modality; returns the same shape.

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.

    Example:
        >>> x = torch.zeros(2, 5, 8)
        >>> MultiModalMamba(8)(x, x, x).shape
        torch.Size([2, 5, 8])

    Notes:
        As in the authors' code both modalities share the decay rates. All sequences are read forwards.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: float = 2) -> None:
        super().__init__(d_model, d_state, d_conv, expand, mean=False)
        inner = self.d_inner
        self.conv1d_c = nn.Conv1d(inner, inner, d_conv, groups=inner)
        self.x_proj_c = nn.Linear(inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj_c = StepProjection(self.dt_rank, inner)
        self.D_c = nn.Parameter(torch.ones(inner))
        nn.init.zeros_(self.dt_proj_c.bias)
        self.in_proj_extra1 = nn.Linear(d_model, 2 * inner, bias=False)
        self.in_proj_extra2 = nn.Linear(d_model, 2 * inner, bias=False)

    def forward(self, x: Tensor, second: Tensor, first: Tensor) -> Tensor:  # type: ignore[override]
        given = [x, second, first]
        for sequence in given:
            if sequence.dim() != 3 or sequence.shape[-1] != self.d_model or sequence.shape != x.shape:
                shape = tuple(sequence.shape)
                raise ValueError(f"a sequence has shape {shape}: give three alike of (batch, length, {self.d_model})")
        turned = [sequence.transpose(1, 2) for sequence in given]
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self._sum([sequence.float() for sequence in turned]).transpose(1, 2)
        return self._sum(turned).transpose(1, 2)

    def _sum(self, given: list[Tensor]) -> Tensor:
        """The layer with channels first."""
        projections = (self.in_proj, self.in_proj_extra1, self.in_proj_extra2)
        convs = (self.conv1d, self.conv1d_b, self.conv1d_c)
        scans = (
            (self.A_log, self.x_proj, self.dt_proj, self.D),
            (self.A_b_log, self.x_proj_b, self.dt_proj_b, self.D_b),
            (self.A_b_log, self.x_proj_c, self.dt_proj_c, self.D_c),
        )
        results = []
        for sequence, projection, conv, (A_log, x_proj, dt_proj, D) in zip(
            given, projections, convs, scans, strict=True
        ):
            u, z = project(projection, sequence).chunk(2, 1)
            u = causal_conv1d(u, conv.weight.squeeze(1), conv.bias, "silu")
            results.append(self._scan(u, z, A_log, x_proj, dt_proj, D))
        return project(self.out_proj, results[0] + results[1] + results[2])
