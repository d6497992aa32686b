"""A U-Net put together from parts by name, for networks that no paper has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive
from medmamba_monai.networks.blocks.decoders import ExpandDecoder, ExpandHead, UnetrDecoder
from medmamba_monai.networks.blocks.vss import MIXERS, VSSEncoder, drop_paths, init_linear, vss_stage
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source


class ComposedUNet(PublishedNetwork):
    """Segment 2D images or 3D volumes by a U-Net whose core, scan order, mixer, block and decoder are chosen by name.

    The parts are those of VM-UNet (arXiv 2402.02491), Mamba-UNet (arXiv 2402.05079), Swin-UMamba (arXiv 2402.03302),
    U-Mamba (arXiv 2401.04722) and MedMamba (arXiv 2403.03849).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes; 1 gives one map of logits.
        core: "s6" (Mamba), "mamba2", "mamba3", "s4", "s4d" or "s5"; others than "s6" need mixer "sequence".
        order: name of the scan order, see `medmamba_monai.ops.scan_order`, or a list that blocks take in turn, those
            of the decoder after those of the encoder.
        mixer: "scan" (VMamba's: one projection, the paths scanned inside), "sequence" (a whole layer a sequence) or
            "heads" (MHS-VM's, arXiv 2406.05992: groups of channels in patterns of their own).
        block: "vss" (residual), "replace" (U-Mamba's, without residual) or "ss_conv_ssm" (MedMamba's, mixer "scan").
        decoder: "add" (VM-UNet's), "concat" (Mamba-UNet's) or "unetr" (Swin-UMamba's; it needs patch_size 2).
        depths: blocks of each encoder stage; those of the decoder mirror them.
        dims: channels of each stage, each twice the one before, at least two.
        patch_size: side of a patch.
        embed: "patch" for one convolution without overlap, "overlap" for two of 3x3 (patch_size 1 or 4).
        merge: "patch" to join neighbours between stages, "conv" for a convolution of 3x3 with stride 2.
        mlp_ratio: hidden width of an MLP after each mixer over the channels; 0 leaves it out.
        large_kernel: expand with a convolution, as MSVM-UNet does; not for "unetr".
        drop_path_rate: chance to drop a mixer next to the bottleneck; it falls linearly to 0 towards the image.
        mixer_arguments: further arguments of the mixer and its core, for example {"d_state": 16, "expand": 2}.
        d_state: numbers in the state of each channel.

    Shape:
        x (B, in_channels, *S) of any size; returns logits (B, out_channels, *S).

    Raises:
        ValueError: when a name is unknown, parts do not go together, or the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> net = ComposedUNet(2, 1, 2, core="s4d", order="bidirectional", mixer="sequence", decoder="concat",
        ...                    depths=[1, 1], dims=[8, 16])
        >>> net(torch.zeros(1, 1, 17, 20)).shape
        torch.Size([1, 2, 17, 20])
    """

    source: ClassVar[Source] = Source(
        "none: a composition of this package", "this package", "Apache-2.0", "its parts, in the networks that have them"
    )

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        core: str = "s6",
        order: str | Sequence[str] = "cross",
        mixer: str = "scan",
        block: str = "vss",
        decoder: str = "concat",
        depths: Sequence[int] = (2, 2, 2, 2),
        dims: Sequence[int] = (48, 96, 192, 384),
        patch_size: int = 2,
        embed: str = "patch",
        merge: str = "patch",
        mlp_ratio: float = 0.0,
        large_kernel: bool = False,
        drop_path_rate: float = 0.0,
        mixer_arguments: Mapping[str, Any] | None = None,
        d_state: int = 16,
    ) -> None:
        super().__init__()
        check_positive(out_channels=out_channels, patch_size=patch_size)
        check_choice("decoder", decoder, ("add", "concat", "unetr"))
        parts = _parts(core, mixer, block, mlp_ratio, {"order": order, "d_state": d_state, **(mixer_arguments or {})})
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.encoder = VSSEncoder(
            spatial_dims, in_channels, depths, dims, patch_size, embed, merge, drop_path_rate, **parts
        )
        self.decoder: nn.Module
        if decoder == "unetr":
            if patch_size != 2 or large_kernel:
                raise ValueError(
                    f'patch_size is {patch_size} and large_kernel {large_kernel}: decoder "unetr" doubles the '
                    "resolution at every level and needs patch_size=2, large_kernel=False"
                )
            self.decoder = UnetrDecoder(spatial_dims, in_channels, dims)
            self.head: nn.Module = Conv[Conv.CONV, spatial_dims](dims[0], out_channels, 1)
            return
        rates = drop_paths(drop_path_rate, depths)
        levels = list(reversed(range(len(dims) - 1)))
        firsts = [sum(depths) + sum(depths[j] for j in levels[:place]) for place in range(len(levels))]
        stages = [
            vss_stage(spatial_dims, dims[i], rates[i], first_layer=first, **parts)
            for i, first in zip(levels, firsts, strict=True)
        ]
        for stage in stages:
            stage.apply(init_linear)
        self.decoder = ExpandDecoder(spatial_dims, dims, stages, decoder, large_kernel)
        self.head = ExpandHead(spatial_dims, dims[0], dims[0], out_channels, patch_size, large_kernel)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.decoder, UnetrDecoder):
            maps = [grid.movedim(-1, 1) for grid in self.encoder(x)]
            return saturate(in_float32(self.head, self.decoder(saturate(x), maps)[-1]))
        # as in VM-UNet and Mamba-UNet the skips are what goes into the stages
        *skips, deepest = self.encoder.stage_inputs(x)
        logits: Tensor = self.head(self.decoder(deepest, skips)[-1], x.shape[2:])
        return logits


def _parts(core: str, mixer: str, block: str, mlp_ratio: float, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a stage of blocks; refuses parts that do not go together."""
    check_choice("mixer", mixer, tuple(MIXERS))
    check_choice("block", block, ("vss", "replace", "ss_conv_ssm"))
    if mixer != "sequence" and core != "s6":
        raise ValueError(f'core is {core!r}: mixer "{mixer}" has the core "s6" only; use mixer="sequence"')
    if block == "ss_conv_ssm":
        if mixer != "scan" or mlp_ratio:
            raise ValueError(f'mixer is {mixer!r} and mlp_ratio {mlp_ratio}: block "ss_conv_ssm" takes "scan" and 0')
        return {"block": block, **arguments}
    named = {"core": core} if mixer == "sequence" else {}
    return {"block": block, "mixer": mixer, "mlp_ratio": mlp_ratio, **named, **arguments}
