"""I2I-Mamba: an image of one contrast becomes one of another, through a bottleneck with scans along a spiral."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.blocks.translation import ChannelMixedBlock, ReflectedConv, ReflectedResidual
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class I2IMamba(PublishedNetwork):
    """Translate images, for example T2-weighted MR to PD-weighted, or MR to CT; the generator of an adversarial pair.

    I2I-Mamba (arXiv 2405.14022), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image, one a given contrast.
        out_channels: channels of the result.
        channels: channels at the image's resolution; doubled by each of two steps down.
        blocks: blocks of the bottleneck.
        mamba_blocks: which of them scan, counted from 0; the others are residual convolutions.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`; each of its sequences has a Mamba of its
            own.
        activation: "tanh" for results between -1 and 1, "none" for any.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size; returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> net = I2IMamba(2, 1, 1, channels=4, blocks=2, mamba_blocks=[0]).eval()
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 1, 17, 20])

    Notes:
        The scan is that of the authors' later code: a spiral from the corner to the centre and back, in image space.
        Scans of the map's Fourier transform, which the paper's last version adds (dual-domain Mamba), are not here: the
        published code has none, and what could be read of that version leaves open how the complex numbers are scanned
        and joined with the map. Their code holds a transformer that nothing uses and works for maps of 64 x 64 in the
        bottleneck only; here the spiral is computed for any size, odd maps are cropped where they are joined, and the
        borders of small maps are reflected several times. The discriminator and the losses are those of any conditional
        adversarial network, for example MONAI's `PatchDiscriminator` and `PatchAdversarialLoss`.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"defaults": Variant({}, 20_470_977)})
    source: ClassVar[Source] = Source(
        "I2I-Mamba: Multi-modal Medical Image Synthesis via Selective State Space Modeling (arXiv 2405.14022)",
        "https://github.com/icon-lab/I2I-Mamba @ 12f6739",
        "MIT",
        "the order of operations of the authors' code, written plainly and compared on random weights; no parameter "
        "count is printed",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: int = 64,
        blocks: int = 9,
        mamba_blocks: Collection[int] = (0, 4, 8),
        order: str = "spiral+-spiral",
        activation: str = "tanh",
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("activation", activation, ("tanh", "none"))
        check_positive(in_channels=in_channels, out_channels=out_channels, channels=channels, blocks=blocks)
        if not set(mamba_blocks) <= set(range(blocks)):
            raise ValueError(f"mamba_blocks is {sorted(mamba_blocks)}: give numbers from 0 to {blocks - 1}")
        self.spatial_dims, self.in_channels, self.use_checkpoint = spatial_dims, in_channels, use_checkpoint
        self.tanh = activation == "tanh"
        conv, up, norm = (
            Conv[Conv.CONV, spatial_dims],
            Conv[Conv.CONVTRANS, spatial_dims],
            Norm[Norm.BATCH, spatial_dims],
        )
        widths = [channels, 2 * channels, 4 * channels]
        scan: dict[str, Any] = {"order": order, "d_state": d_state, "d_conv": d_conv, "expand": expand}
        self.encoder = nn.ModuleList(
            [
                ReflectedConv(spatial_dims, in_channels, channels, 7),
                *(conv(a, b, 3, stride=2, padding=1, bias=False) for a, b in zip(widths, widths[1:], strict=False)),
            ]
        )
        self.encoder_norms = nn.ModuleList(map(norm, widths))
        self.bottleneck = nn.ModuleList(
            ChannelMixedBlock(spatial_dims, widths[-1], **scan)
            if i in mamba_blocks
            else ReflectedResidual(spatial_dims, widths[-1])
            for i in range(blocks)
        )
        upper = [(2 * widths[2], widths[1]), (2 * widths[1], widths[0])]
        self.ups = nn.ModuleList(up(a, b, 3, stride=2, padding=1, output_padding=1, bias=False) for a, b in upper)
        self.up_norms = nn.ModuleList(norm(b) for _, b in upper)
        self.head = ReflectedConv(spatial_dims, 2 * channels, out_channels, 7, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        y, skips = saturate(x), list[Tensor]()
        for conv, norm in zip(self.encoder, self.encoder_norms, strict=True):
            y = F.relu(saturate(norm(saturate(in_float32(conv, y)))))
            skips.append(y)
        for block in self.bottleneck:
            y = run(block, y, use_checkpoint=self.use_checkpoint)
        for up, norm in zip(self.ups, self.up_norms, strict=True):
            y = saturate(in_float32(up, torch.cat((y, skips.pop()), 1)))
            y = F.relu(saturate(norm(crop(y, skips[-1].shape[2:], first_axis=2))))
        made: Tensor = self.head(torch.cat((y, skips.pop()), 1))
        return made.tanh() if self.tanh else made
