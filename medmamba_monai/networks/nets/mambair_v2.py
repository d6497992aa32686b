"""MambaIRv2: images denoised or enlarged by windows of attention and one scan over tokens sorted by their class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from monai.networks.layers.factories import Conv
from monai.networks.nets.swin_unetr import compute_mask
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.attentive import AttentiveLayer, mirror_to_multiple
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.blocks.restoration import group_end, restoration_head
from medmamba_monai.networks.blocks.vss import init_linear
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant

_RGB = (0.4488, 0.4371, 0.4040)
_BASE: Mapping[str, Any] = MappingProxyType(
    {"in_channels": 3, "dim": 174, "heads": 6, "d_state": 16, "inner_rank": 64, "num_tokens": 128, "mean": _RGB}
)
_LIGHT: Mapping[str, Any] = MappingProxyType(
    {"in_channels": 3, "depths": [5] * 4, "mlp_ratio": 1.0, "upsampler": "direct", "gated_mlp": True, "mean": _RGB}
)


class MambaIRv2(PublishedNetwork):
    """Denoise or enlarge images.

    MambaIRv2 (arXiv 2411.15269), figure 4.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the result; those of the image if None.
        dim: channels of a token.
        depths: layers of each group.
        heads: heads of the attention, a divisor of ``dim``, one number for all or one a group.
        window_size: side of the windows of attention; every other layer moves them by half of it.
        scale: how much larger each side of the result is.
        upsampler: "shuffle" enlarges in steps of 2 or 3 with convolutions of 64 channels between, "direct" in one
            step, for light networks; without enlargement it has no effect.
        last_conv: "1conv" or "3conv", the convolutions at the end of a group.
        mean: subtracted from each channel of the image and added to the result; 0 if None.
        img_range: the image is multiplied by it and the result divided.
        d_state: numbers in the state of each channel.
        num_tokens: classes that tokens are sorted by, each with a prompt.
        inner_rank: rank of the prompts.
        mlp_ratio: width of scans and MLPs over the channels.
        kernel_size: odd size of the convolutions in the MLPs.
        gated_mlp: the light networks' MLP, half of which multiplies the other half.
        design: "sound", or "released" for what the authors' code computes: prompts in the order of the grid for
            tokens that are sorted, and classes drawn at random in evaluation mode too.
        use_checkpoint: while training, compute the layers again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S * scale).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = MambaIRv2(2, 1, dim=8, depths=[1], heads=2, window_size=4, scale=2)
        >>> net(torch.zeros(1, 1, 9, 6)).shape
        torch.Size([1, 1, 18, 12])

    Notes:
        Images that the windows do not divide are continued by their mirror image, as in the authors' code, and the
        result is cut; here that also holds for images smaller than half a window. The authors subtract the mean of a
        set of photographs from images of three channels; here only ``mean`` says so. Their network for photographs of
        unknown degradation, which enlarges by copying pixels, is not here.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "light_x2": Variant({**_LIGHT, "scale": 2}, 774_092),
            "light_x3": Variant({**_LIGHT, "scale": 3}, 780_587),
            "light_x4": Variant({**_LIGHT, "scale": 4}, 789_680),
            "small_x2": Variant({**_BASE, "dim": 132, "depths": [4] * 6, "heads": 4, "scale": 2}, 9_621_935),
            "base_x2": Variant({**_BASE, "depths": [6] * 6, "scale": 2}, 22_903_001),
            "large_x2": Variant({**_BASE, "depths": [6] * 9, "scale": 2}, 34_090_523),
            "denoise_colour": Variant({**_BASE, "depths": [6] * 6}, 22_657_971),
        }
    )
    source: ClassVar[Source] = Source(
        "MambaIRv2: Attentive State Space Restoration (arXiv 2411.15269)",
        "https://github.com/csguoh/MambaIR @ af4a48c",
        "Apache-2.0",
        "a layer of either design and a network with their equations, on the authors' names of weights; the "
        "parameter counts were not compared with printed ones",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int | None = None,
        dim: int = 48,
        depths: Sequence[int] = (6, 6, 6, 6),
        heads: int | Sequence[int] = 4,
        window_size: int = 16,
        scale: int = 1,
        upsampler: str = "shuffle",
        last_conv: str = "1conv",
        mean: Sequence[float] | None = None,
        img_range: float = 1.0,
        d_state: int = 8,
        num_tokens: int = 64,
        inner_rank: int = 32,
        mlp_ratio: float = 2.0,
        kernel_size: int = 5,
        gated_mlp: bool = False,
        design: str = "sound",
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("upsampler", upsampler, ("shuffle", "direct"))
        check_choice("last_conv", last_conv, ("1conv", "3conv"))
        check_choice("scale", scale, (1, 2, 3, 4, 8))
        check_positive(in_channels=in_channels, out_channels=out_channels, dim=dim, window_size=window_size)
        per_stage("depths", depths, len(depths))
        heads = per_stage("heads", heads, len(depths))
        if any(dim % count for count in heads):
            raise ValueError(f"heads is {list(heads)}: each must divide dim={dim}")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}: use an odd size, which keeps the grid's size")
        if mean is not None and not len(mean) == in_channels == out_channels:
            raise ValueError(f"mean has {len(mean)} entries: give one for each of {in_channels} channels")
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.window_size, self.scale = window_size, scale
        self.img_range, self.is_residual = img_range, scale == 1 and in_channels == out_channels
        self.register_buffer("mean", torch.tensor([0.0] if mean is None else list(mean)), persistent=False)
        layer: dict[str, Any] = {"mlp_ratio": mlp_ratio, "kernel_size": kernel_size, "gated": gated_mlp}
        layer |= {"d_state": d_state, "num_tokens": num_tokens, "inner_rank": inner_rank, "design": design}
        conv = Conv[Conv.CONV, spatial_dims]
        self.conv_first = conv(in_channels, dim, 3, padding=1)
        self.norm_first, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.groups = nn.ModuleList(
            nn.ModuleList(AttentiveLayer(spatial_dims, dim, count, window_size, i % 2 == 1, **layer) for i in range(n))
            for n, count in zip(depths, heads, strict=True)
        )
        self.convs = nn.ModuleList(group_end(spatial_dims, dim, last_conv) for _ in depths)
        self.conv_body = conv(dim, dim, 3, padding=1)
        self.head = restoration_head(spatial_dims, dim, out_channels, scale, upsampler)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        assert isinstance(self.mean, Tensor)
        mean = self.mean.to(x.dtype).reshape(-1, *(1,) * self.spatial_dims)
        image = saturate((x - mean) * self.img_range)
        first = saturate(in_float32(self.conv_first, mirror_to_multiple(image, self.window_size)))
        y = saturate(in_float32(self.conv_body, self.features(first)) + first)
        y = crop(saturate(in_float32(self.head, y)), [n * self.scale for n in x.shape[2:]], first_axis=2)
        return saturate((image + y if self.is_residual else y) / self.img_range + mean)

    def features(self, x: Tensor) -> Tensor:
        """All groups, each beside the identity: (B, dim, *S) to the same shape, S multiples of the window's side."""
        window, shift = (self.window_size,) * self.spatial_dims, (self.window_size // 2,) * self.spatial_dims
        size = x.shape[2:]
        mask = compute_mask(size, window, shift, x.device) if any(shift) else None  # type: ignore[no-untyped-call]
        y = self.norm_first(x.movedim(1, -1))
        for group, conv in zip(self.groups, self.convs, strict=True):
            z = y
            assert isinstance(group, nn.ModuleList)
            for layer in group:
                z = run(layer, z, mask, use_checkpoint=self.use_checkpoint)
            y = saturate(y + in_float32(conv, z.movedim(-1, 1)).movedim(1, -1))
        normed: Tensor = self.norm(y)
        return normed.movedim(-1, 1)
