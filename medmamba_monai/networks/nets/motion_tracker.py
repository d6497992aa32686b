"""A tracker's head that reads where its target has been with Mamba, and finds the target in a map of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.registration import sinusoidal_positions
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.layers.vim import VimMamba
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class MotionHistoryTracker(PublishedNetwork):
    """Find a target in a map of features, with the help of the places where it was in earlier frames.

    After the motion-guided head of "Motion-Guided Dual-Camera Tracker" (arXiv 2403.05146).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the map, which a tracker makes of the current frame (and of its template).
        dim: channels inside.
        depth: Mamba layers, which read the history both ways.
        heads: attention heads.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.

    Shape:
        x (B, in_channels, *S) of any size and history (B, frames, spatial_dims), the earlier places from the oldest to
        the newest, as shares of the map's sides from 0 to 1. Returns a pair: logits of the place (B, 1, *S) and the
        place itself (B, spatial_dims), their mean, again as shares of the sides.

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when an input is not of floating point.

    Example:
        >>> net = MotionHistoryTracker(2, 4, dim=8, depth=1, heads=2)
        >>> logits, place = net(torch.zeros(2, 4, 9, 7), torch.rand(2, 5, 2))
        >>> logits.shape, place.shape
        (torch.Size([2, 1, 9, 7]), torch.Size([2, 2]))

    Notes:
        No code was published, and sizes and the rule of fusion are ours: each frame's place and its step from the
        frame before become a token; layers of norm, bidirectional Mamba and residual read them; the tokens of the map
        attend to them. Nothing could be compared with the authors' network. Of two cameras each has its own call.
    """

    variants: ClassVar[Mapping[str, Variant]] = {}
    source: ClassVar[Source] = Source(
        "Motion-Guided Dual-Camera Tracker for Endoscope Tracking and Motion Analysis in a Mechanical Gastric "
        "Simulator (arXiv 2403.05146)",
        "none published",
        "no code; this package copies nothing",
        "its own equations only; that the place follows the history and the map",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 256,
        dim: int = 128,
        depth: int = 2,
        heads: int = 4,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, dim=dim, depth=depth, heads=heads)
        if dim % heads:
            raise ValueError(f"heads is {heads}: it must divide the {dim} channels of dim")
        self.spatial_dims, self.in_channels, self.num_heads = spatial_dims, in_channels, heads
        self.project = Conv[Conv.CONV, spatial_dims](in_channels, dim, 1)
        self.embed = nn.Linear(2 * spatial_dims, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.mixers = nn.ModuleList(VimMamba(dim, d_state, d_conv, expand) for _ in range(depth))
        self.motion_norm, self.map_norm, self.out_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        # a bias of the keys would change nothing
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False)
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.head = nn.Linear(dim, 1)

    def forward(self, x: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        check_input(x, self.spatial_dims, self.in_channels)
        self._check(x, history)
        motion = self.motion(history)
        y = saturate(in_float32(self.project, saturate(x))).movedim(1, -1)
        y = y + sinusoidal_positions(y.shape[1:-1], y)
        y = saturate(y + self._attend(self.map_norm(y).flatten(1, -2), motion).reshape(y.shape))
        logits = saturate(in_float32(self.head, self.out_norm(y))).movedim(-1, 1)
        return logits, _mean_place(logits)

    def motion(self, history: Tensor) -> Tensor:
        """The tokens of the earlier frames, (B, frames, dim), after the Mamba layers."""
        moves = F.pad(history[:, 1:] - history[:, :-1], (0, 0, 1, 0))
        y = saturate(in_float32(self.embed, saturate(torch.cat((history, moves), -1))))
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            y = saturate(y + saturate(mixer(norm(y))))
        tokens: Tensor = self.motion_norm(y)
        return tokens

    def _attend(self, tokens: Tensor, motion: Tensor) -> Tensor:
        """What each token of the map takes from the motion."""
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(tokens), self.key(motion), self.value(motion))
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        taken: Tensor = self.out(mixed)
        return saturate(taken)

    def _check(self, x: Tensor, history: Tensor) -> None:
        if not history.is_floating_point():
            raise TypeError(f"the history has dtype {history.dtype}: convert it to floating point, by .float()")
        fits = history.dim() == 3 and len(history) == len(x) and history.shape[2] == self.spatial_dims
        if not fits or history.shape[1] == 0:
            raise ValueError(
                f"the history has shape {tuple(history.shape)}: give ({len(x)}, frames, {self.spatial_dims}) with at "
                "least one frame"
            )


def _mean_place(logits: Tensor) -> Tensor:
    """The mean of all places (B, axes), as shares of the sides, where the softmax of the logits is their chance."""
    wide = logits.float() if logits.element_size() < 4 else logits
    chances = wide.flatten(1).softmax(-1).reshape(wide.shape)
    shares = []
    for axis in range(2, wide.dim()):
        others = [a for a in range(1, wide.dim()) if a != axis]
        places = torch.arange(wide.shape[axis], dtype=wide.dtype, device=wide.device) + 0.5
        shares.append((chances.sum(others) * places).sum(-1) / wide.shape[axis])
    return torch.stack(shares, -1)
