"""The parts of T-Mamba: dense convolutions, each followed by a Mamba with a branch in the frequency domain."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.layers.mamba import project
from medmamba_monai.networks.layers.precision import saturate, without_autocast
from medmamba_monai.networks.layers.vim import VimMamba

_BANDS = ((0.0, 0.1), (0.1, 0.9), (0.9, torch.inf))


class FrequencyMamba(VimMamba):
    """Vim's two scans and a third branch that keeps a band of the input's frequencies.

    T-Mamba (arXiv 2404.01065), section 3.2 (Tim block).

    Args:
        d_model: channels of a token, at least 1.
        d_state: numbers in the state of each channel (N), at least 1.
        d_conv: taps of the causal convolutions, at least 1.
        expand: the inner width is ``int(expand * d_model)``.
        band: 0 keeps coefficients below 0.1, 1 those from 0.1 to 0.9, 2 those above 0.9, in absolute value.
        mix_frequencies: mix neighbouring frequencies by a convolution; else the spectrum is multiplied by a table
            that `mix_spectrum` is given.

    Shape:
        `mix_spectrum` takes x (B, d_model, L) and None or a table (2 * inner width, L); returns the shape of x.

    Example:
        >>> FrequencyMamba(4).mix_spectrum(torch.ones(1, 4, 6)).shape
        torch.Size([1, 4, 6])
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        band: int = 0,
        mix_frequencies: bool = True,
    ) -> None:
        super().__init__(d_model, d_state, d_conv, expand, mean=False)
        self.band = _BANDS[band]
        width = 2 * self.d_inner
        self.fft_conv = nn.Conv1d(width, width, 5, padding=2) if mix_frequencies else None

    def mix_inner(self, x: Tensor) -> Tensor:
        return self._branches(x, None)

    def mix_spectrum(self, x: Tensor, table: Tensor | None = None) -> Tensor:
        """The layer with channels first, with a table of weights of the spectrum's real and imaginary parts."""
        return project(self.out_proj, self._branches(x, table))

    def _branches(self, x: Tensor, table: Tensor | None) -> Tensor:
        u, z = project(self.in_proj, x).chunk(2, 1)
        return self._two_ways(u, z) + self._filter(u, z, table)

    def _filter(self, u: Tensor, z: Tensor, table: Tensor | None) -> Tensor:
        spectrum = torch.fft.fftn(u, dim=(1, 2))
        parts = torch.cat((spectrum.real, spectrum.imag), 1)
        if self.fft_conv is not None:
            parts = self.fft_conv(parts)
        elif table is not None:
            parts = parts * table
        real, imaginary = F.silu(parts).chunk(2, 1)
        low, high = self.band
        size = torch.sqrt(real.detach().square() + imaginary.detach().square())
        kept = (size < high) if low == 0 else (size > low) & (size < high)
        filtered = torch.fft.ifftn(torch.complex(real * kept, imaginary * kept), dim=(1, 2))
        y = filtered * F.silu(z).amax(-1, keepdim=True)
        # the absolute value by hand: at zero its gradient is zero, not undefined
        squares = y.real.square() + y.imag.square()
        absolute = torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)
        return F.layer_norm(absolute, absolute.shape[-1:])


class FrequencyBlock(nn.Module):
    """x + p + Mamba(norm(x + p)), with positions p.

    T-Mamba (arXiv 2404.01065), figure 2.

    Args:
        channels: channels of the map.
        band: the band of frequencies of the Mamba's third branch.
        mix_frequencies: mix neighbouring frequencies instead of weighing them by a table.
        mamba: d_state, d_conv and expand.

    Shape:
        x (B, channels, *S), positions (L, channels) and None or a table of the spectrum; returns the shape of x.

    Example:
        >>> FrequencyBlock(4)(torch.ones(1, 4, 2, 3), torch.zeros(6, 4)).shape
        torch.Size([1, 4, 2, 3])

    Notes:
        It computes in float32 whatever autocast asks.
    """

    def __init__(
        self,
        channels: int,
        band: int = 0,
        mix_frequencies: bool = True,
        mamba: tuple[int, int, float] = (16, 4, 2),
    ) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(channels, eps=1e-5)
        self.mixer = FrequencyMamba(channels, *mamba, band, mix_frequencies)

    def forward(self, x: Tensor, positions: Tensor, table: Tensor | None = None) -> Tensor:
        with without_autocast(x):
            tokens = (x.float() if x.element_size() < 4 else x).flatten(2).transpose(1, 2)
            placed = tokens + positions
            mixed = self.mixer.mix_spectrum(self.norm(placed).transpose(1, 2), table)
            y = mixed + placed.transpose(1, 2)
        return saturate(y.reshape(x.shape))


class PreactivatedConv(nn.Module):
    """Batch norm, ReLU and a convolution, padded so that a stride of 2 halves even sizes.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output.
        kernel: odd kernel size.
        stride: 1 or 2.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *S // stride).

    Example:
        >>> PreactivatedConv(2, 1, 4, 5, 2)(torch.zeros(2, 1, 6, 4)).shape
        torch.Size([2, 4, 3, 2])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.norm = Norm[Norm.BATCH, spatial_dims](in_channels)
        self.conv = Conv[Conv.CONV, spatial_dims](in_channels, channels, kernel, stride)
        padding = kernel - stride
        # the authors put the smaller part in front
        sides = (padding // 2, padding // 2) if padding % 2 == 0 else (1, padding - 1)
        self.padding = sides * spatial_dims

    def forward(self, x: Tensor) -> Tensor:
        return saturate(self.conv(F.pad(F.relu(self.norm(x)), self.padding)))


class DenseStage(nn.Module):
    """Halve the resolution, then convolutions that each see all results so far, each followed by a Mamba.

    T-Mamba (arXiv 2404.01065), figure 2, in the frame of DenseVNet (10.1109/TMI.2018.2806309).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels behind the first convolution.
        units: convolutions with Mamba.
        growth: channels of each.
        kernel: kernel size of the first convolution.
        skip: channels of the result that goes to the decoder.
        band: the band of frequencies of this stage.
        mix_frequencies: mix neighbouring frequencies instead of weighing them by a table.
        mamba: d_state, d_conv and expand.
        use_checkpoint: while training, compute the Mamba blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) and a function of the size that gives positions and table; returns the stack
        (B, channels + units * growth, *S / 2) and the skip (B, skip, *S / 2).

    Example:
        >>> stage = DenseStage(2, 1, 4, 2, 3, skip=5)
        >>> [tuple(y.shape) for y in stage(torch.zeros(2, 1, 4, 6), lambda x: (torch.zeros(6, 3), None))]
        [(2, 10, 2, 3), (2, 5, 2, 3)]
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: int,
        units: int,
        growth: int,
        kernel: int = 3,
        skip: int = 24,
        band: int = 0,
        mix_frequencies: bool = True,
        mamba: tuple[int, int, float] = (16, 4, 2),
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.down = PreactivatedConv(spatial_dims, in_channels, channels, kernel, 2)
        widths = [channels + i * growth for i in range(units + 1)]
        self.units = nn.ModuleList(PreactivatedConv(spatial_dims, width, growth) for width in widths[:-1])
        self.blocks = nn.ModuleList(FrequencyBlock(growth, band, mix_frequencies, mamba) for _ in range(units))
        self.skip = PreactivatedConv(spatial_dims, widths[-1], skip)
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor, places: Callable[[Tensor], tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
        stack = self.down(x)
        positions, table = places(stack)
        for unit, block in zip(self.units, self.blocks, strict=True):
            new = run(block, unit(stack), positions, table, use_checkpoint=self.use_checkpoint)
            stack = torch.cat((stack, new), 1)
        return stack, self.skip(stack)
