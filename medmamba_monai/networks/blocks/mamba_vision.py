"""The parts of MambaVision: a mixer of a scanned and a plain half, attention, and stages of both inside windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.drop_path import DropPath
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_positive
from medmamba_monai.networks.blocks.patches import crop, pad_to_multiple
from medmamba_monai.networks.blocks.vss import Mlp
from medmamba_monai.networks.layers.mamba import initial_A_log, initial_dt_bias, project, resolve_dt_rank
from medmamba_monai.networks.layers.precision import autocast_dtype, in_float32, saturate, without_autocast
from medmamba_monai.ops import selective_scan


class VisionMixer(nn.Module):
    """Scan one half of the channels, convolve both, and project them together.

    MambaVision (arXiv 2407.08083), figure 3.

    Args:
        d_model: channels of a token, even.
        d_state: numbers in the state of each channel (N).
        d_conv: odd taps of the convolutions, which see both sides.
        expand: the inner width is ``int(expand * d_model)``, of which each half has half.
        double_bias: add the bias of the step size twice, as the authors' code does.

    Shape:
        x (B, L, d_model); returns the same shape.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> VisionMixer(8)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Notes:
        Under float16 autocast the layer computes in float32.
    """

    def __init__(
        self, d_model: int, d_state: int = 8, d_conv: int = 3, expand: float = 1, double_bias: bool = False
    ) -> None:
        super().__init__()
        check_positive(d_model=d_model, d_state=d_state, d_conv=d_conv)
        inner = int(expand * d_model)
        if d_conv % 2 == 0 or inner % 2 or inner < 2:
            raise ValueError(f"d_conv is {d_conv} and the inner width {inner}: give an odd kernel and an even width")
        half, rank = inner // 2, resolve_dt_rank("auto", d_model)
        self.d_state, self.dt_rank, self.double_bias = d_state, rank, double_bias
        self.in_proj = nn.Linear(d_model, inner, bias=False)
        self.conv_x, self.conv_z = (
            nn.Conv1d(half, half, d_conv, padding=d_conv // 2, groups=half, bias=False) for _ in range(2)
        )
        self.x_proj = nn.Linear(half, rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(rank, half)
        self.A_log = nn.Parameter(initial_A_log(half, d_state))
        self.D = nn.Parameter(torch.ones(half))
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():
            self.dt_proj.bias.copy_(initial_dt_bias((half,)))

    def forward(self, x: Tensor) -> Tensor:
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self.forward(x.float())
        u, z = project(self.in_proj, x.transpose(1, 2)).chunk(2, 1)
        u, z = F.silu(self.conv_x(u)), F.silu(self.conv_z(z))
        dt, B, C = torch.split(self.x_proj.weight @ u, [self.dt_rank, self.d_state, self.d_state], 1)
        bias = self.dt_proj.bias.float()
        y = selective_scan(
            u,
            self.dt_proj.weight @ dt,
            -torch.exp(self.A_log.float()),
            B,
            C,
            self.D.float(),
            None,
            2 * bias if self.double_bias else bias,
            delta_softplus=True,
        )
        assert isinstance(y, Tensor)
        return project(self.out_proj, torch.cat((y, z), 1)).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention over a sequence of tokens.

    Attention is all you need (arXiv 1706.03762), section 3.2.

    Args:
        d_model: channels of a token, divisible by the heads.
        heads: number of heads.

    Shape:
        x (B, L, d_model); returns the same shape.

    Raises:
        ValueError: when the heads do not divide the channels.

    Example:
        >>> Attention(8, 2)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        check_positive(d_model=d_model, heads=heads)
        if d_model % heads:
            raise ValueError(f"num_heads is {heads}: it must divide the {d_model} channels of its stage")
        self.heads = heads
        self.qkv, self.proj = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class MixerBlock(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)), on sequences.

    MambaVision (arXiv 2407.08083), equation 4.

    Args:
        channels: channels of a token.
        mixer: what mixes the tokens of a sequence.
        mlp_ratio: hidden width of the MLP over the channels.
        drop_path: chance to drop a branch for a sample while training.

    Shape:
        x (B, L, channels); returns the same shape.

    Example:
        >>> MixerBlock(8, Attention(8, 2))(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, channels: int, mixer: nn.Module, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm, self.norm2, self.mixer = nn.LayerNorm(channels), nn.LayerNorm(channels), mixer
        self.mlp = Mlp(2, channels, int(mlp_ratio * channels))
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = saturate(x + self.drop_path(saturate(self.mixer(self.norm(x)))))
        return saturate(x + self.drop_path(self.mlp(self.norm2(x))))


class WindowStage(nn.Module):
    """Cut a grid into windows and run blocks inside each: first mixers, then as many or one fewer of attention.

    MambaVision (arXiv 2407.08083), section 3.2.

    Args:
        channels: channels of a token.
        window: side of a window; the grid is padded with zeros to whole windows.
        heads: heads of the attention.
        drop_paths: chance to drop a branch, one for each block.
        mlp_ratio: hidden width of the MLPs over the channels.
        mixer: arguments of `VisionMixer`.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> WindowStage(8, 4, 2, [0.0, 0.0])(torch.zeros(1, 5, 6, 8)).shape
        torch.Size([1, 5, 6, 8])
    """

    def __init__(
        self,
        channels: int,
        window: int,
        heads: int,
        drop_paths: Sequence[float],
        mlp_ratio: float = 4.0,
        **mixer: int | float | bool,
    ) -> None:
        super().__init__()
        check_positive(window_size=window)
        self.window = window
        scanned = (len(drop_paths) + 1) // 2
        self.blocks = nn.Sequential()
        for i, rate in enumerate(drop_paths):
            mix = VisionMixer(channels, **mixer) if i < scanned else Attention(channels, heads)  # type: ignore[arg-type]
            self.blocks.append(MixerBlock(channels, mix, mlp_ratio, rate))

    def forward(self, x: Tensor) -> Tensor:
        dims, size = x.dim() - 2, x.shape[1:-1]
        padded = pad_to_multiple(x, self.window, first_axis=1)
        counts = [n // self.window for n in padded.shape[1:-1]]
        for axis in reversed(range(dims)):
            padded = padded.unflatten(1 + axis, (-1, self.window))
        # the axes of windows stand before those inside a window
        order = [0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1]
        windows = padded.permute(order).flatten(0, dims).flatten(1, dims)
        mixed = self.blocks(windows).reshape(-1, *counts, *(self.window,) * dims, x.shape[-1])
        back = [0, *(axis for d in range(dims) for axis in (1 + d, 1 + dims + d)), 2 * dims + 1]
        grid = mixed.permute(back)
        for axis in range(dims):
            grid = grid.flatten(1 + axis, 2 + axis)
        return crop(grid, size, first_axis=1)


class ConvResidual(nn.Module):
    """Two convolutions of 3x3 with batch norms, GELU between them, added to the input.

    MambaVision (arXiv 2407.08083), equation 1.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the grid.
        drop_path: chance to drop the branch for a sample while training.

    Shape:
        x (B, *S, channels), channels last; returns the same shape.

    Example:
        >>> ConvResidual(2, 8)(torch.zeros(2, 5, 6, 8)).shape
        torch.Size([2, 5, 6, 8])
    """

    def __init__(self, spatial_dims: int, channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.conv1, self.conv2 = (conv(channels, channels, 3, padding=1) for _ in range(2))
        self.norm1, self.norm2 = norm(channels), norm(channels)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        grid = x.movedim(-1, 1)
        y = F.gelu(saturate(self.norm1(saturate(self.conv1(grid)))), approximate="tanh")
        y = saturate(self.norm2(saturate(self.conv2(y))))
        return saturate(grid + self.drop_path(y)).movedim(1, -1)


class ConvStem(nn.Module):
    """Two convolutions of 3x3 with stride 2, each with a batch norm and ReLU.

    MambaVision (arXiv 2407.08083), section 3.1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        hidden: channels between the two.
        channels: channels of a token.

    Shape:
        x (B, in_channels, *S); returns (B, *ceil(S / 4), channels).

    Example:
        >>> ConvStem(2, 1, 4, 8)(torch.zeros(2, 1, 9, 8)).shape
        torch.Size([2, 3, 2, 8])
    """

    def __init__(self, spatial_dims: int, in_channels: int, hidden: int, channels: int) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.conv1 = conv(in_channels, hidden, 3, 2, 1, bias=False)
        self.conv2 = conv(hidden, channels, 3, 2, 1, bias=False)
        self.norm1, self.norm2 = norm(hidden, eps=1e-4), norm(channels, eps=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(saturate(self.norm1(in_float32(self.conv1, saturate(x)))))
        tokens: Tensor = F.relu(saturate(self.norm2(saturate(self.conv2(x))))).movedim(1, -1)
        return tokens


class ConvHalve(nn.Module):
    """Halve a grid by one convolution of 3x3 with stride 2, to twice the channels.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the input tokens.

    Shape:
        x (B, *S, channels); returns (B, *ceil(S / 2), 2 * channels).

    Example:
        >>> ConvHalve(2, 8)(torch.zeros(1, 5, 4, 8)).shape
        torch.Size([1, 3, 2, 16])
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](channels, 2 * channels, 3, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return saturate(self.conv(x.movedim(-1, 1))).movedim(1, -1)
