"""MambaMIR: medical images reconstructed by scans that are masked at random, with a map of uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from monai.networks.layers.factories import Conv
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.data_consistency import keep_measured
from medmamba_monai.networks.blocks.patches import crop, pad_to_multiple
from medmamba_monai.networks.blocks.vss import VSSBlock, drop_paths, init_linear
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import UNRECORDED, PublishedNetwork, Source


class MambaMIR(PublishedNetwork):
    """Reconstruct an image: of undersampled MR, of few CT views, of a low dose.

    MambaMIR (arXiv 2402.18451), figure 2. `medmamba_monai.networks.blocks.monte_carlo.monte_carlo` gives the mean and
    the uncertainty of several calls.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image; 2, real and imaginary part, for data consistency.
        out_channels: channels of the result; those of the image if None.
        dim: channels of a token.
        depths: blocks of each group.
        patch_size: side of the patch that becomes a token; larger ones save time and memory.
        masked: scans that each block leaves out, of 4 in 2D and 6 in 3D, drawn anew in every call.
        mask_inference: leave scans out in evaluation mode too, as the paper does; if False the network is
            deterministic there and all scans take part.
        d_state: numbers in the state of each channel.
        d_conv: odd kernel size of the depthwise convolutions.
        expand: inner width of the scans over the channels.
        drop_path_rate: chance to drop the last block's scan; it grows linearly from 0 over the blocks.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S). With ``mask`` (B, 1, *S) or broadcast to it,
        above 0 where k-space was measured, its centre in the middle, x is the zero-filled image and what was measured
        is kept; ``maps`` (B, coils, *S, 2) are the coils' sensitivities, one even coil if None.

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when the image is not of floating point.

    Example:
        >>> import torch
        >>> net = MambaMIR(2, 2, dim=8, depths=[1])
        >>> net(torch.rand(1, 2, 9, 12)).shape
        torch.Size([1, 2, 9, 12])
        >>> net(torch.rand(1, 2, 9, 12), torch.ones(1, 1, 1, 12)).shape
        torch.Size([1, 2, 9, 12])

    Notes:
        The authors' repository is not public any more. The masked scan was compared with the scan of the first
        author's later code (arXiv 2405.17659), which draws a fixed number of the four scans and sets their input to
        zero. Blocks and frame follow the paper's text: groups of blocks, a layer norm and a convolution beside the
        identity, and the identity around all of them. The paper prints no sizes that could be counted. Its wavelet
        U-Net and its adversarial training are not here; data consistency is an addition, after MambaRecon
        (arXiv 2409.12401). Images that the patches do not divide are padded with zeros.
    """

    source: ClassVar[Source] = Source(
        "MambaMIR: An Arbitrary-Masked Mamba for Joint Medical Image Reconstruction and Uncertainty Estimation "
        "(arXiv 2402.18451)",
        "none public; the masked scan as in https://github.com/Whethe/HyperKron-MRI-Recon @ 0df46b7",
        UNRECORDED,
        "the masked scan with its equations; the frame follows the paper's text",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int | None = None,
        dim: int = 96,
        depths: Sequence[int] = (6, 6, 6, 6),
        patch_size: int = 1,
        masked: int = 1,
        mask_inference: bool = True,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        drop_path_rate: float = 0.0,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels, dim=dim, patch_size=patch_size)
        per_stage("depths", depths, len(depths))
        self.spatial_dims, self.in_channels, self.out_channels = spatial_dims, in_channels, out_channels
        self.patch_size, self.use_checkpoint = patch_size, use_checkpoint
        conv, places = Conv[Conv.CONV, spatial_dims], patch_size**spatial_dims
        block: dict[str, Any] = {"mixer": "masked", "masked": masked, "mask_inference": mask_inference}
        block |= {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        self.stem = conv(in_channels * places, dim, 3, padding=1)
        self.groups = nn.ModuleList(
            nn.Sequential(*(VSSBlock(spatial_dims, dim, rate, **block) for rate in rates))
            for rates in drop_paths(drop_path_rate, depths)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in depths)
        self.convs = nn.ModuleList(conv(dim, dim, 3, padding=1) for _ in depths)
        self.head = conv(dim, out_channels * places, 3, padding=1)
        self.apply(init_linear)

    def forward(self, x: Tensor, mask: Tensor | None = None, maps: Tensor | None = None) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        if mask is not None and not self.in_channels == self.out_channels == 2:
            channels = f"{self.in_channels} channels to {self.out_channels}"
            raise ValueError(f"a mask is given and the network takes {channels}: data consistency needs 2 and 2")
        image = saturate(x)
        y = pixelunshuffle(pad_to_multiple(image, self.patch_size, first_axis=2), self.spatial_dims, self.patch_size)
        y = self.features(saturate(in_float32(self.stem, y)))
        y = pixelshuffle(saturate(in_float32(self.head, y)), self.spatial_dims, self.patch_size)
        y = crop(y, x.shape[2:], first_axis=2)
        if self.in_channels == self.out_channels:
            y = saturate(y + image)
        return y if mask is None else keep_measured(y, image, mask, maps)

    def features(self, x: Tensor) -> Tensor:
        """All groups, each beside the identity: (B, dim, *S) to the same shape."""
        for group, norm, conv in zip(self.groups, self.norms, self.convs, strict=True):
            y = x.movedim(1, -1)
            assert isinstance(group, nn.Sequential)
            for block in group:
                y = run(block, y, use_checkpoint=self.use_checkpoint)
            x = saturate(x + in_float32(conv, norm(y).movedim(-1, 1)))
        return x
