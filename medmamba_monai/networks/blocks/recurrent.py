"""A recurrent cell whose gate comes from VSS blocks, and the way back from tokens to frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.vss import VSSBlock
from medmamba_monai.networks.layers.precision import Saturate, in_float32, saturate

CellState = tuple[Tensor, Tensor]


class JoinedVSSBlock(VSSBlock):
    """x + mixer(W [norm(x), norm(h)]): a VSS block that also reads what a cell remembers.

    VMRNN (arXiv 2403.16536), first block of a cell.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        drop_path: chance to drop the residual branch for a sample while training.
        arguments: those of the mixer, for example ``order`` or ``d_state``.

    Shape:
        x and h (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> x = torch.zeros(1, 3, 5, 8)
        >>> JoinedVSSBlock(2, 8)(x, x).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, spatial_dims: int, channels: int, drop_path: float = 0.0, **arguments: Any) -> None:
        super().__init__(spatial_dims, channels, drop_path, **arguments)
        self.join = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        joined = saturate(self.join(torch.cat((self.norm(x), self.norm(h)), -1)))
        return saturate(x + self.drop_path(self.mixer(joined)))


class RecurrentBlocks(nn.Module):
    """VSS blocks one after another, the first of which also reads what a cell remembers.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        drop_paths: chance to drop the branch of each block; their number is the number of blocks.
        arguments: those of the mixers.

    Shape:
        x and h (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> x = torch.zeros(1, 3, 5, 8)
        >>> RecurrentBlocks(2, 8, [0.0, 0.0])(x, x).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, spatial_dims: int, channels: int, drop_paths: Sequence[float], **arguments: Any) -> None:
        super().__init__()
        first, *others = drop_paths
        self.first = JoinedVSSBlock(spatial_dims, channels, first, **arguments)
        self.others = nn.Sequential(*(VSSBlock(spatial_dims, channels, rate, **arguments) for rate in others))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        mixed: Tensor = self.others(self.first(x, h))
        return mixed


class VMRNNCell(nn.Module):
    """A recurrent cell on grids: o from VSS blocks, c' = sigmoid(o) (c + tanh(o)), h' = sigmoid(o) tanh(c').

    VMRNN (arXiv 2403.16536), the VMRNN cell.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        drop_paths: chance to drop the branch of each VSS block; their number is the number of blocks.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.
        arguments: those of the mixers, for example ``order`` or ``d_state``.

    Shape:
        x (B, *S, channels), channels last, and the state (h, c) of the same shapes, or None for zeros; returns the new
        state, whose h is the result.

    Example:
        >>> cell, x = VMRNNCell(2, 8, [0.0]), torch.zeros(1, 3, 5, 8)
        >>> h, c = cell(x)
        >>> h, c = cell(x, (h, c))
        >>> h.shape, c.shape
        (torch.Size([1, 3, 5, 8]), torch.Size([1, 3, 5, 8]))

    Notes:
        The authors' code holds the joining projection in every block and uses that of the first one only.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        drop_paths: Sequence[float],
        use_checkpoint: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.blocks = RecurrentBlocks(spatial_dims, channels, drop_paths, **arguments)
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor, state: CellState | None = None) -> CellState:
        h, c = (torch.zeros_like(x), torch.zeros_like(x)) if state is None else state
        o = run(self.blocks, x, h, use_checkpoint=self.use_checkpoint)
        gate = o.sigmoid()
        c = gate * (c + o.tanh())
        return gate * c.tanh(), c


class PatchInflate(nn.Module):
    """Transposed convolutions that double the size, from tokens back to the image's size.

    VMRNN (arXiv 2403.16536), the reconstruction layer, after SwinLSTM (arXiv 2308.09891).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of a token.
        out_channels: channels of the image.
        patch_size: 2, 4 or 8; the last of the doublings gives the image, those before it keep the channels.

    Shape:
        x (B, *S, channels), channels last; returns (B, out_channels, *S * patch_size).

    Raises:
        ValueError: when the patch size is another or the channels do not fit.

    Example:
        >>> PatchInflate(2, 16, 1, 4)(torch.zeros(1, 3, 5, 16)).shape
        torch.Size([1, 1, 12, 20])
    """

    def __init__(self, spatial_dims: int, channels: int, out_channels: int, patch_size: int) -> None:
        super().__init__()
        check_choice("patch_size", patch_size, (2, 4, 8))
        if patch_size > 2 and channels % 16:
            raise ValueError(f"dim is {channels}: with patches above 2 it must be divisible by 16")
        up = Conv[Conv.CONVTRANS, spatial_dims]
        doubles = []
        for _ in range({2: 0, 4: 1, 8: 2}[patch_size]):
            norm = nn.GroupNorm(16, channels)
            doubles.append(nn.Sequential(up(channels, channels, 3, 2, 1, 1), Saturate(), norm, nn.LeakyReLU(0.2)))
        self.doubles = nn.Sequential(*doubles)
        self.last = up(channels, out_channels, 3, 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return saturate(in_float32(self.last, self.doubles(x.movedim(-1, 1))))
