"""The scan mixer of MambaMIR: some of its scans, drawn anew in every call, are left out."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.layers.precision import autocast_dtype, without_autocast
from medmamba_monai.networks.layers.scan_mixer import ScanMixer
from medmamba_monai.ops import bidirectional_selective_scan, grid_selective_scan


class MaskedScanMixer(ScanMixer):
    """A cross scan of which a fixed number of directions, drawn at random, is left out in every call.

    MambaMIR (arXiv 2402.18451), section 2.2 (arbitrary-masked S6); arXiv 2405.17659 (Monte Carlo arbitrary scan
    masking).

    Args:
        d_model: channels of a token.
        spatial_dims: 2 or 3.
        masked: scans that are left out, of 4 in 2D and 6 in 3D.
        mask_inference: leave scans out in evaluation mode too, so that calls differ; else all scans take part there.
        arguments: the others of `ScanMixer`, for example ``d_state``.

    Shape:
        x (B, *S, d_model), channels last; returns the same shape.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> MaskedScanMixer(8, masked=2)(torch.zeros(2, 5, 4, 8)).shape
        torch.Size([2, 5, 4, 8])

    Notes:
        A call draws once for all images of its batch, from the CPU's random numbers: `torch.manual_seed` fixes it. A
        scan of zeros gives zeros, so leaving a scan out is what the authors' code does by setting its input to zero,
        without the cost of the scan. The sum is not scaled, since a layer norm follows it.
    """

    def __init__(
        self, d_model: int, spatial_dims: int = 2, masked: int = 1, mask_inference: bool = True, **arguments: Any
    ) -> None:
        super().__init__(d_model, spatial_dims, "cross", **arguments)
        count = self.order.num_sequences
        if not 0 <= masked < count:
            raise ValueError(f"masked is {masked}: of {count} scans leave out at least 0 and at most {count - 1}")
        self.masked, self.mask_inference = masked, mask_inference

    def draw(self) -> list[int]:
        """The scans that take part in a call."""
        count = self.order.num_sequences
        if self.masked == 0 or not (self.training or self.mask_inference):
            return list(range(count))
        return sorted(torch.randperm(count, device="cpu")[self.masked :].tolist())

    def scan_tokens(self, u: Tensor) -> Tensor:
        if autocast_dtype(u) == torch.float16:
            with without_autocast(u):
                return self.scan_tokens(u.float())
        kept = self.draw()
        if len(kept) == self.order.num_sequences:
            return super().scan_tokens(u)
        places = torch.arange(u[0, ..., 0].numel(), dtype=torch.int32).reshape(1, 1, *u.shape[1:-1])
        tokens = u.flatten(1, -2)
        to_x, to_delta, delta_bias, A, D = self._kept_weights(kept)
        projected = torch.unflatten(F.linear(tokens, to_x.flatten(0, 2)), -1, (1, len(kept), -1))
        return grid_selective_scan(
            tokens.float() if tokens.element_size() < 4 else tokens,
            projected,
            to_delta,
            A,
            self.order.sequences(places)[0, kept, 0],
            D,
            delta_bias,
        )

    def _scan(self, u: Tensor) -> Tensor:
        kept = self.draw()
        if len(kept) == self.order.num_sequences:
            return super()._scan(u)
        rank, states, size, paths = self.dt_rank, self.d_state, u.shape[2:], self.order.num_paths
        lines = self.order.sequences(u)[:, kept]
        to_x, to_delta, delta_bias, A, D = self._kept_weights(kept)
        dt, B, C = (to_x[0] @ lines).unsqueeze(1).split_with_sizes((rank, states, states), 3)
        lines = lines.float() if lines.element_size() < 4 else lines
        y = bidirectional_selective_scan(lines, to_delta @ dt, A, B, C, D, delta_bias, delta_softplus=True)
        grids = [
            self.order.steps[k % paths].write(line if k < paths else line.flip(-1), size)
            for k, line in zip(kept, y.unbind(1), strict=True)
        ]
        return torch.stack(grids).sum(0)

    def _kept_weights(self, kept: list[int]) -> list[Tensor]:
        """The parameters of these scans, each a path of one direction."""
        return [weight[:, kept] for weight in self._weights(0, 1, self.order.num_sequences)]
