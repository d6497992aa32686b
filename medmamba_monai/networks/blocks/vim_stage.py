"""A stage of Vim's layers over the patches of a map, for networks that are made of several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.patches import pad_to_multiple
from medmamba_monai.networks.blocks.positions import resize_positions, rotate
from medmamba_monai.networks.layers.precision import in_float32, saturate, without_autocast
from medmamba_monai.networks.layers.vim import VimMamba


class VimStage(nn.Module):
    """Embed patches with learned positions, and run layers that rotate, add to the residual, norm and mix both ways.

    Vision Mamba (arXiv 2401.09417), figure 2, as a stage of MD-Dose (arXiv 2403.08479).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the map.
        channels: channels of a token, divisible by twice the spatial dimensions.
        depth: number of layers.
        patch_size: side of a patch.
        grid: size of the grid that the positions are learned for.
        drop_path_rate: chance to drop the last layer's branch; it grows linearly from 0 over the layers.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.

    Shape:
        x (B, in_channels, *S), padded with zeros to whole patches; returns (B, channels, *ceil(S / patch_size)).

    Raises:
        ValueError: when the channels cannot be rotated.

    Example:
        >>> VimStage(2, 1, 8, 1, 2, (4, 4))(torch.zeros(2, 1, 9, 8)).shape
        torch.Size([2, 8, 5, 4])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: int,
        depth: int,
        patch_size: int,
        grid: Sequence[int],
        drop_path_rate: float = 0.0,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
    ) -> None:
        super().__init__()
        if channels % (2 * spatial_dims):
            raise ValueError(f"channels is {channels}: tokens are rotated; use a multiple of {2 * spatial_dims}")
        self.patch_size, self.grid = patch_size, tuple(grid)
        self.patch_embed = Conv[Conv.CONV, spatial_dims](in_channels, channels, patch_size, patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, int(torch.Size(self.grid).numel()), channels))
        self.mixers = nn.ModuleList(VimMamba(channels, d_state, d_conv, expand, mean=False) for _ in range(depth))
        self.norms = nn.ModuleList(nn.RMSNorm(channels, eps=1e-5) for _ in range(depth))
        rates = torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        self.drop_paths = nn.ModuleList(DropPath(rate) if rate > 0 else nn.Identity() for rate in rates)
        self.norm = nn.RMSNorm(channels, eps=1e-5)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for mixer in self.mixers:
            assert isinstance(mixer, VimMamba)
            with torch.no_grad():
                mixer.out_proj.weight.div_(depth**0.5)

    def forward(self, x: Tensor) -> Tensor:
        patches = saturate(in_float32(self.patch_embed, saturate(pad_to_multiple(x, self.patch_size, first_axis=2))))
        size = patches.shape[2:]
        with without_autocast(x):
            tokens = patches.flatten(2).transpose(1, 2)
            tokens = tokens.float() if tokens.element_size() < 4 else tokens
            tokens = tokens + resize_positions(self.pos_embed, self.grid, size)
        mixed: Tensor = self._mix(tokens, size)
        grid: Tensor = mixed.transpose(1, 2).unflatten(2, size)
        return grid

    def _mix(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The layers: each adds what the layer before gave to the residual, normalises it and mixes it."""
        # Vim turns the tokens as if every grid were that of its 14 x 14 patches
        angles = (14,) * len(size)
        residual = rotate(y, size, angles)
        for i, (mixer, norm) in enumerate(zip(self.mixers, self.norms, strict=True)):
            if i:
                residual = rotate(residual, size, angles) + self.drop_paths[i - 1](rotate(y, size, angles))
            y = saturate(mixer(norm(residual)))
        last: Tensor = self.norm(residual + self.drop_paths[-1](y))
        return last
