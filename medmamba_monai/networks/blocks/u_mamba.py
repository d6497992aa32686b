"""The parts of U-Mamba: residual convolution blocks and the token mixer that replaces a feature map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, split_args
from monai.networks.layers.utils import get_act_layer, get_norm_layer
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import Mamba
from medmamba_monai.networks.layers.precision import Saturate, in_float32, is_tracing, saturate, without_autocast

NameOrPair = str | tuple[str, dict[str, Any]] | list[Any]


class InstanceNorm(nn.GroupNorm):
    """Instance normalisation as one group a channel: the same numbers, several times faster on a CPU.

    Unlike PyTorch's own class it also accepts a map of a single voxel while training.

    Args:
        channels: number of channels.
        eps: added to the variance.
        affine: learn a scale and an offset a channel.

    Shape:
        x (B, channels, *S); returns the same shape.

    Example:
        >>> import torch
        >>> InstanceNorm(2)(torch.ones(1, 2, 3, 3)).abs().max().item()
        0.0
    """

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(channels, channels, eps=eps, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        # not the checked function, which refuses a single voxel of a single image
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def make_norm(norm: NameOrPair, spatial_dims: int, channels: int) -> nn.Module:
    """Build a norm from MONAI's name or (name, arguments) pair."""
    name, kwargs = split_args(  # type: ignore[no-untyped-call]
        norm if isinstance(norm, str) else tuple(norm)
    )
    if isinstance(name, str) and name.lower() == "instance" and not kwargs.get("track_running_stats", False):
        return InstanceNorm(channels, kwargs.get("eps", 1e-5), kwargs.get("affine", True))
    layer: nn.Module = get_norm_layer((name, kwargs), spatial_dims=spatial_dims, channels=channels)
    return layer


def make_act(act: NameOrPair) -> nn.Module:
    """Build an activation from MONAI's name or (name, arguments) pair."""
    layer: nn.Module = get_act_layer(act if isinstance(act, str) else tuple(act))
    return layer


class AveragePool(nn.Module):
    """Average over windows as large as their stride; at the border the last voxel is repeated to fill a window.

    Args:
        stride: window and stride of each axis.

    Shape:
        x (B, C, *S); returns (B, C, *ceil(S / stride)).

    Example:
        >>> import torch
        >>> AveragePool((2, 2))(torch.ones(1, 1, 3, 1)).tolist()
        [[[[1.0], [1.0]]]]
    """

    def __init__(self, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        missing = [-n % s for n, s in zip(x.shape[2:], self.stride, strict=True)]
        # as in pad_to_multiple: a trace holds for every size
        if any(missing) or is_tracing():
            x = F.pad(x, [amount for axis in reversed(missing) for amount in (0, axis)], mode="replicate")
        pool = F.avg_pool2d if len(self.stride) == 2 else F.avg_pool3d
        return pool(x, self.stride, self.stride)


class ResidualConvBlock(nn.Module):
    """Two convolutions with norms beside a shortcut: act(norm(conv(act(norm(conv(x))))) + shortcut(x)).

    U-Mamba (arXiv 2401.04722), figure 1b.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd kernel size of each axis.
        stride: stride of each axis.
        shortcut: "conv" is one strided pointwise convolution without norm (the released code), "pool" averages and,
            where the channels change, projects with a norm (the paper's network), "identity" adds the input itself.
        norm: MONAI's name of the norm.
        act: MONAI's name of the activation.
        bias: give the two convolutions a bias.

    Shape:
        x (B, in_channels, *S); returns (B, out_channels, *ceil(S / stride)).

    Example:
        >>> import torch
        >>> ResidualConvBlock(2, 1, 4, (3, 3), (2, 2))(torch.zeros(1, 1, 9, 8)).shape
        torch.Size([1, 4, 5, 4])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        shortcut: str = "conv",
        norm: NameOrPair = "instance",
        act: NameOrPair = "leakyrelu",
        bias: bool = True,
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        kernel, stride = tuple(kernel_size), tuple(stride)
        padding = tuple(k // 2 for k in kernel)
        self.conv1 = conv(in_channels, out_channels, kernel, stride, padding, bias=bias)
        self.norm1 = make_norm(norm, spatial_dims, out_channels)
        self.conv2 = conv(out_channels, out_channels, kernel, 1, padding, bias=bias)
        self.norm2 = make_norm(norm, spatial_dims, out_channels)
        self.act = make_act(act)
        self.shortcut: nn.Module = nn.Identity()
        if shortcut == "conv":
            self.shortcut = conv(in_channels, out_channels, 1, stride)
        elif shortcut == "pool":
            parts: list[nn.Module] = []
            if max(stride) > 1:
                parts.append(AveragePool(stride))
            if in_channels != out_channels:
                parts += [conv(in_channels, out_channels, 1, bias=False), Saturate()]
                parts.append(make_norm(norm, spatial_dims, out_channels))
            self.shortcut = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(saturate(self.conv1(x))))
        y = self.norm2(saturate(self.conv2(y)))
        return saturate(self.act(y + saturate(in_float32(self.shortcut, x))))


class MambaTokenBlock(nn.Module):
    """Replace a feature map by Mamba(LayerNorm(tokens)), without a residual.

    U-Mamba (arXiv 2401.04722), figure 1b. It computes in float32 whatever autocast asks, as the authors' code does.

    Args:
        channels: channels of the map.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolution.
        expand: inner width over the token's width.
        map_size: give the map's size to make channels the tokens, each with all voxels as its numbers; None makes
            voxels the tokens.

    Shape:
        x (B, channels, *S); returns the same shape.

    Raises:
        ValueError: when channels are the tokens and the map has another size than ``map_size``.

    Example:
        >>> import torch
        >>> MambaTokenBlock(4)(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(
        self,
        channels: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        map_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.map_size = None if map_size is None else tuple(int(s) for s in map_size)
        width = channels
        if self.map_size is not None:
            width = 1
            for size in self.map_size:
                width *= size
        self.norm = nn.LayerNorm(width)
        self.mamba = Mamba(width, d_state, d_conv, expand)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        if self.map_size is not None and tuple(x.shape[2:]) != self.map_size:
            raise ValueError(
                f"the feature map is {tuple(x.shape[2:])} and its mixer was built for {self.map_size}: give inputs of "
                "the img_size of the constructor, or build the network with channel_tokens=False"
            )
        with without_autocast(x):
            tokens = tokens.float() if x.element_size() < 4 else tokens
            if self.map_size is not None:
                mixed = self.mamba(self.norm(tokens))
            else:
                mixed = self.mamba.mix(self.norm(tokens.transpose(1, 2)).transpose(1, 2))
        result: Tensor = saturate(mixed.reshape(x.shape))
        return result


def init_he(module: nn.Module) -> None:
    """nnU-Net's start of convolutions: weights as He et al. for leaky ReLU, biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
