"""Blocks that scan a map of one fixed size, to which any image is resized: UVM-Net's and FD-Vision Mamba's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive
from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import without_autocast


class PlaceAndChannelScan(nn.Module):
    """A scan over places, then one over channels, weighed by the softmax of another scan over places.

    UVM-Net (arXiv 2402.04139), figure 2 (Bi-SSM block).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        side: side of the map; the scan over channels is ``side ** spatial_dims`` wide.
        hidden: channels between the first two convolutions.
        d_state: numbers in the state of each channel.
        design: "sound", or "released" for what the authors' code computes: the memory of the map is taken for tokens
            as it lies, which mixes channels and places, and the softmax runs over the batch.

    Shape:
        x (B, channels, side, side[, side]); returns the same shape, in float32 at least.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> PlaceAndChannelScan(2, 6, 4)(torch.zeros(1, 6, 4, 4)).shape
        torch.Size([1, 6, 4, 4])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        side: int = 64,
        hidden: int = 16,
        d_state: int = 16,
        design: str = "sound",
    ) -> None:
        super().__init__()
        check_choice("design", design, ("sound", "released"))
        check_positive(side=side)
        self.released = design == "released"
        conv = Conv[Conv.CONV, spatial_dims]
        self.conv1, self.conv2 = conv(channels, hidden, 3, padding=1), conv(hidden, channels, 3, padding=1)
        self.norm = nn.LayerNorm(channels)
        self.places, self.weigh = Mamba(channels, d_state), Mamba(channels, d_state)
        self.channels = Mamba(side**spatial_dims, d_state)
        self.smooth = conv(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):
            x = x.float() if x.element_size() < 4 else x
            x = x + self.conv2(F.relu(self.conv1(x)))
            tokens = self.norm(_tokens(x, self.released))
            y = self.channels(self.places(tokens).transpose(1, 2)).transpose(1, 2)
            weights = self.weigh(tokens).softmax(_softmax_axis(self.released))
            smoothed: Tensor = self.smooth(_grid(weights * y, x.shape, self.released))
        return smoothed


class FrequencyScan(nn.Module):
    """Scans of the amplitude and of the phase of a map's Fourier transform, each weighed by the other.

    FD-Vision Mamba (arXiv 2402.06378), figure 2 (C-SSM block and cross attention).

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map.
        side: side of the map; only the released design depends on it.
        hidden: channels between the convolutions.
        d_state: numbers in the state of each channel.
        design: "sound", or "released" for what the authors' code computes, see Notes.

    Shape:
        x (B, channels, side, side[, side]); returns the same shape, in float32 at least.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> FrequencyScan(2, 3, 4)(torch.rand(1, 3, 4, 4)).shape
        torch.Size([1, 3, 4, 4])

    Notes:
        The authors' code takes the real part for amplitude and the imaginary part for phase; takes the memory of a map
        for tokens as it lies; convolves along the channels with the places for channels, which makes nearly all of its
        parameters; lets the softmax run over the batch; and gives the phase the cross attention of the amplitude.
        ``design="released"`` does all of this. Its second cross convolution is never used.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        side: int = 64,
        hidden: int = 8,
        d_state: int = 16,
        design: str = "sound",
    ) -> None:
        super().__init__()
        check_choice("design", design, ("sound", "released"))
        check_positive(side=side)
        self.released = design == "released"
        conv, width = Conv[Conv.CONV, spatial_dims], side**spatial_dims if self.released else channels
        self.conv1, self.conv2 = conv(channels, hidden, 3, padding=1), conv(hidden, channels, 3, padding=1)
        self.norm = nn.LayerNorm(channels)
        self.scans = nn.ModuleList(Mamba(channels, d_state) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.crosses = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(1 if self.released else 2))

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):
            x = x.float() if x.element_size() < 4 else x
            axes = tuple(range(2, x.dim()))
            spectrum = torch.fft.fftn(x, dim=axes)
            raw = [spectrum.real, spectrum.imag] if self.released else list(polar(spectrum))
            scanned, weights = zip(*(self._scan(part, i) for i, part in enumerate(raw)), strict=True)
            amplitude = self._convolve(self.crosses[0], weights[0])
            phase = amplitude if self.released else self._convolve(self.crosses[1], weights[1])
            axis = _softmax_axis(self.released)
            crossed = amplitude * phase.softmax(axis), amplitude.softmax(axis) * phase
            made = [r + _grid(s + c, x.shape, self.released) for r, s, c in zip(raw, scanned, crossed, strict=True)]
            both = (
                torch.complex(*made)
                if self.released
                else torch.complex(made[0] * made[1].cos(), made[0] * made[1].sin())
            )
            image: Tensor = torch.fft.ifftn(both, dim=axes).real
        return image

    def _scan(self, part: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """The scan of amplitude or phase, convolved and weighed, and its weights: tokens (B, L, channels)."""
        part = part + self.conv2(F.relu(self.conv1(part)))
        tokens = self.scans[i](self.norm(_tokens(part, self.released)))
        weights = tokens.softmax(_softmax_axis(self.released))
        return self._convolve(self.convs[i], tokens) * weights, weights

    def _convolve(self, conv: nn.Module, tokens: Tensor) -> Tensor:
        y: Tensor = conv(tokens) if self.released else conv(tokens.transpose(1, 2)).transpose(1, 2)
        return y


def polar(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitude and phase of complex numbers; those that are real but for rounding have the phase 0 or pi.

    Without that a sign that only rounding decides would choose between pi and -pi.

    Example:
        >>> amplitude, phase = polar(torch.tensor([-2 - 1e-9j, 3j]))
        >>> amplitude.tolist(), [round(value, 3) for value in phase.tolist()]
        ([2.0, 3.0], [3.142, 1.571])
    """
    real, imag = spectrum.real, spectrum.imag
    imag = torch.where(imag.abs() <= 1e-4 * real.abs(), torch.zeros_like(imag), imag)
    # the phase of zero has no gradient
    real = torch.where((real == 0) & (imag == 0), torch.ones_like(real), real)
    return spectrum.abs(), torch.atan2(imag, real)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, *S) linearly along each axis, corners to corners.

    Example:
        >>> resize(torch.tensor([[[[0.0, 2.0]]]]), (1, 3)).tolist()
        [[[[0.0, 1.0, 2.0]]]]
    """
    return F.interpolate(x, size=tuple(size), mode="bilinear" if x.dim() == 4 else "trilinear", align_corners=True)


def _tokens(x: Tensor, released: bool) -> Tensor:
    return x.reshape(x.shape[0], -1, x.shape[1]) if released else x.flatten(2).transpose(1, 2)


def _grid(tokens: Tensor, shape: Sequence[int], released: bool) -> Tensor:
    return tokens.reshape(tuple(shape)) if released else tokens.transpose(1, 2).reshape(tuple(shape))


def _softmax_axis(released: bool) -> int:
    return 0 if released else 1
