"""MambaMorph and VMambaMorph: a displacement that brings a moving image onto a fixed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_input, check_positive
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.registration import Deformation, FeatureUNet, FlowDecoder, MorphEncoder
from medmamba_monai.networks.blocks.u_mamba import MambaTokenBlock
from medmamba_monai.networks.blocks.vss import VSSBlock
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class MambaMorph(PublishedNetwork):
    """Register pairs of 3D volumes (or 2D images): displacement and moved image.

    MambaMorph (arXiv 2401.13934), figure 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of each image.
        features: give both images the features of a small U-Net instead of themselves.
        dim: channels of the first level; each of the levels has twice the channels of the one before.
        levels: number of levels.
        head_channels: channels at the images' resolution.
        steps: squarings of the velocity.
        rounds: how often the moved image is registered again; the displacements are composed.
        read_out: with ``features``, also build the layers of `describe`.
        d_state: numbers in the state of each channel.
        d_conv: taps of Mamba's convolution.
        expand: inner width of Mamba over its channels.
        use_checkpoint: while training, compute the mixers again instead of keeping what is inside them.

    Shape:
        moving and fixed (B, in_channels, *S) of any size, in the order of MONAI's VoxelMorph. Returns a pair: the
        moved image (B, in_channels, *S) and the displacement (B, spatial_dims, *S) in voxels, as MONAI's Warp takes it.

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when an input is not of floating point.

    Example:
        >>> net = MambaMorph(2, 1, dim=8, levels=2)
        >>> moved, ddf = net(torch.rand(1, 1, 17, 20), torch.rand(1, 1, 17, 20))
        >>> moved.shape, ddf.shape
        (torch.Size([1, 1, 17, 20]), torch.Size([1, 2, 17, 20]))

    Notes:
        A level is a norm and one Mamba without a residual, as in the authors' code, which ignores its depths. Maps of
        odd size are padded with zeros or interpolated to their skip's size, where the authors' code stops.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"plain": Variant({}, 7_305_459), "features": Variant({"features": True, "read_out": True}, 7_594_646)}
    )
    source: ClassVar[Source] = Source(
        "MambaMorph: a Mamba-based Framework for Medical MR-CT Deformable Registration (arXiv 2401.13934)",
        "https://github.com/Guo-Stone/MambaMorph @ b88652d",
        "MIT",
        "velocity, displacement, moved image, read-out features and gradients of a small network; parameter counts",
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        features: bool = False,
        dim: int = 96,
        levels: int = 3,
        head_channels: int = 16,
        steps: int = 7,
        rounds: int = 1,
        read_out: bool = False,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        mixers = [_Level(dim * 2**i, d_state, d_conv, expand, use_checkpoint) for i in range(levels)]
        self._build(spatial_dims, in_channels, features, dim, mixers, head_channels, steps, rounds, read_out)

    def _build(
        self,
        spatial_dims: int,
        in_channels: int,
        features: bool,
        dim: int,
        mixers: Sequence[nn.Module],
        head_channels: int,
        steps: int,
        rounds: int,
        read_out: bool,
    ) -> None:
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, levels=len(mixers), head_channels=head_channels)
        check_positive(steps=steps, rounds=rounds)
        if read_out and not features:
            raise ValueError("read_out is True: it needs features=True")
        self.spatial_dims, self.in_channels, self.rounds = spatial_dims, in_channels, rounds
        width = 16 if features else in_channels
        conv = Conv[Conv.CONV, spatial_dims]
        self.features = FeatureUNet(spatial_dims, in_channels, width) if features else None
        self.encoder = MorphEncoder(spatial_dims, 2 * width, mixers, dim)
        dims = [dim * 2**i for i in range(len(mixers))]
        self.decoder = FlowDecoder(spatial_dims, 2 * width, dims, head_channels)
        self.head = conv(head_channels, spatial_dims, 3, padding=1)
        nn.init.normal_(self.head.weight, 0, 1e-5)
        nn.init.zeros_(self.head.bias)
        self.deformation = Deformation(steps)
        self.read_out: nn.ModuleList | None = None
        if read_out:
            self.read_out = nn.ModuleList((conv(width, 8, 3, 2, 1), conv(8, 3, 3, 1, 1)))

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        ddf, _ = self._register(moving, fixed)
        return self.deformation.warp(moving, ddf), ddf

    def _register(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The displacement of all rounds together, and the velocity of each."""
        velocities = [self.velocity(moving, fixed)]
        ddf = self.deformation.integrate(velocities[0])
        for _ in range(self.rounds - 1):
            velocities.append(self.velocity(self.deformation.warp(moving, ddf), fixed))
            ddf = self.deformation.compose(ddf, self.deformation.integrate(velocities[-1]))
        return ddf, velocities

    def velocity(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """The stationary velocity (B, spatial_dims, *S) whose integral is the displacement of one round."""
        for image in (moving, fixed):
            check_input(image, self.spatial_dims, self.in_channels)
        if moving.shape != fixed.shape:
            raise ValueError(f"the images have shapes {tuple(moving.shape)} and {tuple(fixed.shape)}: make them alike")
        x = torch.cat(self._features(moving, fixed), 1)
        y = self.decoder(x, self.encoder(x))
        return saturate(in_float32(self.head, y))

    def inverse(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """The displacement that brings the fixed image onto the moving one.

        Each round's is the integral of minus its velocity; they are composed from the last round to the first.
        """
        _, velocities = self._register(moving, fixed)
        *others, back = (self.deformation.integrate(-velocity) for velocity in velocities)
        for other in reversed(others):
            back = self.deformation.compose(back, other)
        return back

    def describe(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Three read-out features of each image at half resolution, (B, 6, *ceil(S / 2)), for a loss on features."""
        if self.read_out is None:
            raise ValueError("read_out is False: build the network with features=True and read_out=True")
        read = []
        for x in self._features(moving, fixed):
            for conv in self.read_out:
                x = F.leaky_relu(saturate(in_float32(conv, x)), 0.2)
            read.append(x)
        return torch.cat(read, 1)

    def _features(self, moving: Tensor, fixed: Tensor) -> list[Tensor]:
        images = [saturate(moving), saturate(fixed)]
        return images if self.features is None else [self.features(image) for image in images]


class VMambaMorph(MambaMorph):
    """Register pairs of 3D volumes (or 2D images) with VMamba's blocks.

    VMambaMorph (arXiv 2404.05105), figure 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of each image.
        features: give both images the features of a small U-Net instead of themselves.
        dim: channels of the first level; each of the levels has twice the channels of the one before.
        depths: blocks of each level.
        design: "paper" for blocks one after another whose sequences return to their places; "released" for the
            authors' code, where all blocks of a level get the same input, so that only the last one counts, and where
            the voxels of two sequences return to wrong places.
        head_channels: channels at the images' resolution.
        steps: squarings of the velocity.
        rounds: how often the moved image is registered again; the displacements are composed.
        read_out: with ``features``, also build the layers of `describe`.
        d_state: numbers in the state of each channel.
        d_conv: odd kernel size of the depthwise convolutions.
        expand: inner width of the mixers over the channels.
        use_checkpoint: while training, compute the blocks again instead of keeping what is inside them.

    Shape:
        As `MambaMorph`.

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when an input is not of floating point.

    Example:
        >>> net = VMambaMorph(2, 1, dim=8, depths=[1, 1])
        >>> moved, ddf = net(torch.rand(1, 1, 17, 20), torch.rand(1, 1, 17, 20))
        >>> moved.shape, ddf.shape
        (torch.Size([1, 1, 17, 20]), torch.Size([1, 2, 17, 20]))

    Notes:
        The paper refines with ``rounds=2``. The authors' code takes cubes only; "released" has no such limit, and its
        dead blocks are dropped from checkpoints.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {"plain": Variant({}, 9_352_371), "features": Variant({"features": True, "read_out": True}, 9_641_558)}
    )
    source: ClassVar[Source] = Source(
        "VMambaMorph: a Multi-Modality Deformable Image Registration Framework based on Visual State Space Model "
        "with Cross-Scan Module (arXiv 2404.05105)",
        "https://github.com/ziyangwang007/VMambaMorph @ 6d2df25",
        "Apache-2.0",
        "velocity, displacement, moved image, read-out features and gradients of a small network (released design); "
        "parameter counts",
    )

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        features: bool = False,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 2),
        design: str = "paper",
        head_channels: int = 16,
        steps: int = 7,
        rounds: int = 1,
        read_out: bool = False,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        PublishedNetwork.__init__(self)
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("design", design, ("paper", "released"))
        if design == "released" and spatial_dims == 2:
            raise ValueError("design is 'released': the authors' code is for 3D; use 'paper' in 2D")
        order = "cross" if spatial_dims == 2 else {"paper": "vmambamorph", "released": "vmambamorph_released"}[design]
        scan: dict[str, Any] = {"order": order, "d_state": d_state, "d_conv": d_conv, "expand": expand}
        mixers = [
            _VSSLevel(spatial_dims, dim * 2**i, 1 if design == "released" else depth, use_checkpoint, **scan)
            for i, depth in enumerate(depths)
        ]
        self.depths, self.released = tuple(depths), design == "released"
        self._build(spatial_dims, in_channels, features, dim, mixers, head_channels, steps, rounds, read_out)


class _Level(nn.Module):
    """Norm and one Mamba over all voxels, which replace the tokens; channels last."""

    def __init__(self, channels: int, d_state: int, d_conv: int, expand: float, use_checkpoint: bool) -> None:
        super().__init__()
        self.block = MambaTokenBlock(channels, d_state, d_conv, expand)
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor) -> Tensor:
        return run(self.block, x.movedim(-1, 1), use_checkpoint=self.use_checkpoint).movedim(1, -1)


class _VSSLevel(nn.Module):
    """A norm and VSS blocks; channels last."""

    def __init__(self, spatial_dims: int, channels: int, depth: int, use_checkpoint: bool, **scan: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(VSSBlock(spatial_dims, channels, **scan) for _ in range(depth))
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        for block in self.blocks:
            x = run(block, x, use_checkpoint=self.use_checkpoint)
        return x
