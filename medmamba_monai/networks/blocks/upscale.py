"""The decoder that makes its skips itself: it enlarges the one map of a plain encoder step by step, twice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice
from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.blocks.u_mamba import InstanceNorm
from medmamba_monai.networks.layers.precision import Saturate, in_float32, saturate


class DoubleConv(nn.Sequential):
    """Twice an instance norm without weights, a convolution of 3x3 and ReLU.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *S).

    Example:
        >>> DoubleConv(2, 1, 4)(torch.zeros(1, 1, 9, 8)).shape
        torch.Size([1, 4, 9, 8])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int) -> None:
        conv = Conv[Conv.CONV, spatial_dims]
        parts: list[nn.Module] = []
        for a in (in_channels, channels):
            parts += [InstanceNorm(a, affine=False), conv(a, channels, 3, padding=1), Saturate(), nn.ReLU()]
        super().__init__(*parts)


class Enlarge(nn.Module):
    """Double the resolution and project the channels.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output.
        upsample: "linear" for linear interpolation, "transposed" for a transposed convolution.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *2 S).

    Raises:
        ValueError: when there is no such way.

    Example:
        >>> Enlarge(2, 8, 4)(torch.zeros(1, 8, 3, 2)).shape
        torch.Size([1, 4, 6, 4])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, upsample: str = "linear") -> None:
        super().__init__()
        check_choice("upsample", upsample, ("linear", "transposed"))
        self.linear = upsample == "linear"
        if self.linear:
            self.conv = Conv[Conv.CONV, spatial_dims](in_channels, channels, 1)
        else:
            self.conv = Conv[Conv.CONVTRANS, spatial_dims](in_channels, channels, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        # the pointwise convolution commutes with the interpolation, and costs a fraction on the small map
        y = saturate(in_float32(self.conv, x))
        if not self.linear:
            return y
        mode = "bilinear" if x.dim() == 4 else "trilinear"
        return F.interpolate(y, size=[2 * n for n in y.shape[2:]], mode=mode)


class EnlargeConv(nn.Sequential):
    """`Enlarge`, then a convolution of 3x3, a batch norm and ReLU.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of the output.
        upsample: see `Enlarge`.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *2 S).

    Example:
        >>> EnlargeConv(2, 8, 4)(torch.zeros(2, 8, 3, 2)).shape
        torch.Size([2, 4, 6, 4])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, upsample: str = "linear") -> None:
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        parts = (conv(channels, channels, 3, padding=1), Saturate(), norm(channels), Saturate(), nn.ReLU())
        super().__init__(Enlarge(spatial_dims, in_channels, channels, upsample), *parts)


class UpscaleDecoder(nn.Module):
    """Make maps of all resolutions from the last one alone, then join them from the lowest to the image's resolution.

    UNETR (arXiv 2103.10504), figure 1, without the transformer's skips, as ViM-UNet (arXiv 2404.07705) uses it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the map.
        steps: doublings of the resolution up to the image's.
        channels: channels at the image's resolution; each step below has twice as many.
        upsample: see `Enlarge`.

    Shape:
        x (B, in_channels, *S); returns (B, channels, *S * 2 ** steps).

    Example:
        >>> UpscaleDecoder(2, 8, 2, 4)(torch.zeros(2, 8, 3, 2)).shape
        torch.Size([2, 4, 12, 8])

    Notes:
        As in the authors' code the maps of the first chain have twice the channels that the second one joins, all but
        the last: of each only the middle half of the channels is joined, and the whole goes on to the next map.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, steps: int, channels: int, upsample: str = "linear"
    ) -> None:
        super().__init__()
        widths = [channels * 2**i for i in reversed(range(steps))]
        before = (in_channels, *widths)
        self.maps = nn.ModuleList(
            EnlargeConv(spatial_dims, a, b, upsample) for a, b in zip(before, widths, strict=False)
        )
        self.base = DoubleConv(spatial_dims, in_channels, widths[0])
        pairs = list(zip(widths, widths[1:], strict=False))
        self.ups = nn.ModuleList(Enlarge(spatial_dims, a, b, upsample) for a, b in (*pairs, (channels, channels)))
        self.blocks = nn.ModuleList(DoubleConv(spatial_dims, a, b) for a, b in (*pairs, (2 * channels, channels)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        for enlarge, up, block in zip(self.maps, self.ups, self.blocks, strict=True):
            x = enlarge(x)
            y = up(y)
            skip = x if x.shape[1] == y.shape[1] else x[:, y.shape[1] // 2 : y.shape[1] // 2 + y.shape[1]]
            y = block(torch.cat((crop(y, x.shape[2:], first_axis=2), skip), 1))
        return y
