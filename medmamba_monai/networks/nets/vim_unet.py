"""ViM-UNet: a Vim as encoder and a convolutional decoder without skips between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from monai.networks.layers.factories import Conv
from torch import Tensor

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive
from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.blocks.upscale import UpscaleDecoder
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant
from medmamba_monai.networks.nets.vim import Vim


class ViMUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes by a plain stack of Mamba layers over patches.

    ViM-UNet (arXiv 2404.07705), section 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        img_size: size of the training images, a number or one an axis; other sizes work too.
        patch_size: side of a patch, a power of two from 2 on.
        dim: channels of a token.
        depth: number of layers.
        channels: channels of the decoder at the image's resolution.
        upsample: "transposed" for transposed convolutions in the decoder, "linear" for the interpolation of later
            versions of the authors' code.
        design: "sound", or "released" for what the authors' checkpoints need: the first token is dropped instead of
            the class token in the middle, which shifts the first half of the image by one patch.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        drop_path_rate: chance to drop the last layer's branch; it grows linearly from 0 over the layers.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = ViMUNet(2, 1, 2, img_size=16, patch_size=4, dim=16, depth=2, channels=4).eval()
        >>> net(torch.zeros(2, 1, 17, 20)).shape
        torch.Size([2, 2, 17, 20])

    Notes:
        Built from the authors' code, which needs the CUDA kernels of Vim and could not be run here: there are no
        reference numbers. That code pads every image with zeros to 1024 x 1024 and ends in a sigmoid; here the
        positions are interpolated, images are padded to whole patches only, and the result is always logits. Its
        encoder holds a classifier that it never uses, 193,000 parameters in the tiny form, not counted here.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "tiny": Variant({}, 18_306_625),
            "small": Variant({"dim": 384}, 38_789_953),
            "tiny_linear": Variant({"upsample": "linear"}, 16_967_233),
            "small_linear": Variant({"dim": 384, "upsample": "linear"}, 37_155_649),
        }
    )
    source: ClassVar[Source] = Source(
        "ViM-UNet: Vision Mamba for Biomedical Segmentation (arXiv 2404.07705)",
        "https://github.com/constantinpape/torch-em @ 0053265, torch_em/model/vim.py",
        "MIT",
        "encoder as Vim; key names by reading the authors' code; parameter counts, which with the unused classifier "
        "are the 18 and 39 million of the paper",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        img_size: int | Sequence[int] = 1024,
        patch_size: int = 16,
        dim: int = 192,
        depth: int = 24,
        channels: int = 64,
        upsample: str = "transposed",
        design: str = "sound",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels, channels=channels)
        check_choice("design", design, ("sound", "released"))
        if patch_size < 2 or patch_size & (patch_size - 1):
            raise ValueError(f"patch_size is {patch_size}: the decoder doubles the resolution; use a power of two")
        self.spatial_dims, self.in_channels, self.design = spatial_dims, in_channels, design
        self.encoder = Vim(
            spatial_dims, in_channels, 0, img_size, patch_size, dim=dim, depth=depth, d_state=d_state, d_conv=d_conv,
            expand=expand, drop_path_rate=drop_path_rate, features_only=True,
        )  # fmt: skip
        self.decoder = UpscaleDecoder(spatial_dims, dim, patch_size.bit_length() - 1, channels, upsample)
        self.head = Conv[Conv.CONV, spatial_dims](channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.decoder(self._features(x))
        return saturate(in_float32(self.head, crop(y, x.shape[2:], first_axis=2)))

    def _features(self, x: Tensor) -> Tensor:
        if self.design == "released":
            tokens, grid = self.encoder.sequence(x)
            return tokens[:, 1:].transpose(1, 2).reshape(x.shape[0], -1, *grid)
        features: Tensor = self.encoder(x)[0]
        return features
