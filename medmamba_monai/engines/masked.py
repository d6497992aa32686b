"""Pretraining without labels: patches of the image are hidden, and the network paints them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from monai.networks.layers import Conv
from monai.networks.utils import pixelshuffle
from torch import Tensor, nn

from medmamba_monai.losses.masked_image import patch_grid
from medmamba_monai.networks.blocks.arguments import check_choice, check_positive
from medmamba_monai.networks.blocks.patches import crop


class PrepareMaskedBatch(PrepareBatch):
    """Hides random patches of each image; for the argument ``prepare_batch`` of MONAI's trainers.

    "Masked Autoencoders Are Scalable Vision Learners" (arXiv 2111.06377), section 3; MambaMIM (arXiv 2408.08070)
    hides 60 % of the patches of side 16 of volumes. The loss is `medmamba_monai.losses.MaskedImageLoss`.

    Args:
        patch_size: side of a patch in voxels, one number or one an axis.
        ratio: share of the patches that are hidden, between 0 and 1; the number is the same for each image.
        key: name of the image in the batch.

    Shape:
        the image (B, C, *S); gives the image with zeros in the hidden patches, and the target (B, C + 1, *S): the whole
        image, and 1 where it was hidden.

    Raises:
        ValueError: when an argument is out of range, the patches do not fill the image, or all or none are hidden.

    Example:
        >>> given, target = PrepareMaskedBatch(4, 0.75)({"image": torch.ones(2, 1, 8, 8)})
        >>> given.shape, target.shape, (given.mean().item(), target[:, 1].mean().item())
        (torch.Size([2, 1, 8, 8]), torch.Size([2, 2, 8, 8]), (0.25, 0.75))
    """

    def __init__(self, patch_size: int | Sequence[int] = 16, ratio: float = 0.6, key: str = "image") -> None:
        if not 0 < ratio < 1:
            raise ValueError(f"ratio is {ratio}: give a number between 0 and 1")
        self.patch_size, self.ratio, self.key = patch_size, ratio, key

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        image = batchdata[self.key].to(device=device, non_blocking=non_blocking, **kwargs)
        image = image.as_tensor() if isinstance(image, MetaTensor) else image
        hidden = self._hidden(image).to(image)
        return image * (1 - hidden), torch.cat((image, hidden), 1)

    def _hidden(self, image: Tensor) -> Tensor:
        cells = patch_grid(image.shape[2:], self.patch_size)
        grid = [number for number, _ in cells]
        total = int(torch.Size(grid).numel())
        count = total - round(total * (1 - self.ratio))
        if not 0 < count < total:
            raise ValueError(f"{count} of {total} patches would be hidden: give larger images or a smaller patch_size")
        # drawn on the CPU, so that a seed gives the same patches on every device
        ranks = torch.rand(image.shape[0], total).argsort(1).argsort(1)
        hidden = (ranks < count).view(image.shape[0], 1, *grid)
        for axis, (_, side) in enumerate(cells, start=2):
            hidden = hidden.repeat_interleave(side, axis)
        return hidden


class Reconstructor(nn.Module):
    """A network that gives maps of features, and a linear head that paints an image from the last one.

    "SimMIM: a Simple Framework for Masked Image Modeling" (arXiv 2111.09886), section 3.3. Networks that give an image
    of the input's size, all U-Nets for example, need no such head: build them with as many output channels as the
    image has.

    Args:
        encoder: a network that gives a list of maps, built with ``features_only=True``.
        spatial_dims: 2 or 3.
        channels: channels of the encoder's last map.
        stride: side of the patch that one place of the last map stands for.
        out_channels: channels of the image.

    Shape:
        x (B, channels of the image, *S); returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range, or the maps are too small for the stride.

    Example:
        >>> from medmamba_monai.networks.nets import VMamba
        >>> encoder = VMamba(2, 1, 0, depths=[1, 1], dims=[8, 16], features_only=True)
        >>> Reconstructor(encoder, 2, channels=16, stride=8)(torch.zeros(1, 1, 20, 32)).shape
        torch.Size([1, 1, 20, 32])
    """

    def __init__(
        self, encoder: nn.Module, spatial_dims: int, channels: int, stride: int, out_channels: int = 1
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(channels=channels, stride=stride, out_channels=out_channels)
        self.spatial_dims, self.stride = spatial_dims, stride
        self.encoder = encoder
        self.head = Conv[Conv.CONV, spatial_dims](channels, out_channels * stride**spatial_dims, 1)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.head(self.encoder(x)[-1])
        painted = pixelshuffle(cells, self.spatial_dims, self.stride)
        if any(have < wanted for have, wanted in zip(painted.shape[2:], x.shape[2:], strict=True)):
            raise ValueError(
                f"the last map has size {tuple(cells.shape[2:])}, times the stride {self.stride} less than the image's "
                f"{tuple(x.shape[2:])}: give the stride of the encoder's last map"
            )
        return crop(painted, x.shape[2:], first_axis=2)
