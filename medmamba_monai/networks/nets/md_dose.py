"""MD-Dose: the noise of a dose distribution from stages of Vim's layers, beside an encoder of the anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.blocks.restoration import ShuffleUp
from medmamba_monai.networks.blocks.timesteps import AddStep, FourierSteps, check_timesteps, split_condition
from medmamba_monai.networks.blocks.vim_stage import VimStage
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant


class MDDose(PublishedNetwork):
    """Predict the noise in a dose distribution, given CT, organs and targets; a network for diffusion models.

    MD-Dose (arXiv 2403.08479), figure 2. It is called as MONAI's `DiffusionModelUNet`, so that
    `monai.inferers.DiffusionInferer` trains and samples it with MONAI's schedulers.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the noisy dose.
        out_channels: channels of the predicted noise.
        condition_channels: channels of the condition: CT, masks of organs and targets; 0 leaves the encoder of the
            anatomy out, and all that is known goes in beside the dose, as channels of the image.
        img_size: size of the training images, a number or one an axis; other sizes work too.
        dim: channels of the first level, divisible by 4 and by twice the spatial dimensions; each of the levels has
            twice the channels of the one before.
        depths: layers of each level of the encoders.
        depths_decoder: layers of the decoder, from the lowest resolution up.
        d_state: numbers in the state of each channel.
        d_conv: taps of the causal convolutions.
        expand: inner width of the mixers over the channels.
        drop_path_rate: chance to drop a stage's last branch; it grows linearly from 0 over the layers of a stage.
        use_checkpoint: while training, compute the stages again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size, timesteps (B,) or (1,), context (B, condition_channels, *S); or x
        (B, in_channels + condition_channels, *S) without context. Returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when an image is not of floating point.

    Example:
        >>> net = MDDose(2, condition_channels=2, img_size=16, dim=8, depths=[1, 1], depths_decoder=[1, 1])
        >>> dose, anatomy = torch.zeros(2, 1, 17, 20), torch.zeros(2, 2, 17, 20)
        >>> net(dose, torch.tensor([3, 999]), anatomy).shape
        torch.Size([2, 1, 17, 20])
        >>> net(torch.cat((dose, anatomy), 1), torch.tensor([7])).shape
        torch.Size([2, 1, 17, 20])

    Notes:
        The authors predict slices of 128 x 128 (their code refuses others); here positions are interpolated, odd grids
        padded with zeros, and 3D is the same network with a third axis. Their code leaves a classifier's head of 1,000
        classes in every stage and a projection of the step unused; neither is here. The step's angles are computed
        in double precision, where theirs are in single, which rounds them at high steps. Their noise starts between 0
        and 1 and the dose is clipped to that: with MONAI's schedulers, ``clip_sample_min=0`` does the clipping.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType(
        {
            "structure": Variant({}, 30_075_840),
            "plain": Variant({"in_channels": 6, "condition_channels": 0}, 18_686_088),
        }
    )
    source: ClassVar[Source] = Source(
        "MD-Dose: A Diffusion Model based on the Mamba for Radiotherapy Dose Prediction (arXiv 2403.08479)",
        "https://github.com/LinjieFu-U/mamba_dose @ c480658",
        "none found in the repository; this package copies nothing",
        "the order of operations of the authors' code, written plainly and compared on random weights; parameter "
        "counts by their shapes, but for the dead weights",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        condition_channels: int = 5,
        img_size: int | Sequence[int] = 128,
        dim: int = 48,
        depths: Sequence[int] = (4, 6, 6, 8),
        depths_decoder: Sequence[int] = (6, 6, 4, 4),
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        drop_path_rate: float = 0.1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels, dim=dim)
        if condition_channels < 0:
            raise ValueError(f"condition_channels is {condition_channels}: give a number of at least 0")
        if dim % 4 or dim % (2 * spatial_dims):
            raise ValueError(f"dim is {dim}: give a multiple of 4 and of {2 * spatial_dims}, which rotate in pairs")
        per_stage("depths_decoder", depths_decoder, len(per_stage("depths", depths, len(depths))))
        self.spatial_dims, self.in_channels, self.condition_channels = spatial_dims, in_channels, condition_channels
        self.use_checkpoint = use_checkpoint
        levels, steps, conv = len(depths), 2 * dim, Conv[Conv.CONV, spatial_dims]
        grids = [per_stage("img_size", img_size, spatial_dims)]
        for _ in depths:
            grids.append(tuple(-(-n // 2) for n in grids[-1]))
        widths = [dim // 2, *(dim * 2**level for level in range(levels))]
        core: dict[str, Any] = {"drop_path_rate": drop_path_rate, "d_state": d_state}
        core |= {"d_conv": d_conv, "expand": expand}

        def encoder() -> nn.ModuleList:
            return nn.ModuleList(
                VimStage(spatial_dims, widths[i], widths[i + 1], depth, 2, grids[i + 1], **core)
                for i, depth in enumerate(depths)
            )

        self.steps = FourierSteps(steps)
        self.stem, self.encoder = conv(in_channels, widths[0], 3, padding=1), encoder()
        self.encoder_steps = nn.ModuleList(AddStep(steps, width) for width in widths[1:])
        if condition_channels:
            self.structure_stem = conv(condition_channels, widths[0], 3, padding=1)
            self.structure_encoder = encoder()
        # the highest level keeps the channels of both maps it joins
        upper = [*reversed(widths[1:-1]), dim]
        below = list(reversed(widths))
        self.ups = nn.ModuleList(
            ShuffleUp(spatial_dims, a, b, bias=False) for a, b in zip(below, below[1:], strict=False)
        )
        self.fuses = nn.ModuleList(conv(2 * width, width, 1, bias=False) for width in upper[:-1])
        self.decoder = nn.ModuleList(
            VimStage(spatial_dims, width, width, depth, 1, grid, **core)
            for width, depth, grid in zip(upper, depths_decoder, reversed(grids[:-1]), strict=True)
        )
        self.decoder_steps = nn.ModuleList(AddStep(steps, width) for width in upper)
        self.head = conv(dim, out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        x, anatomy = split_condition(x, context, self.spatial_dims, self.in_channels, self.condition_channels)
        check_timesteps(timesteps, x.shape[0])
        steps = self.steps(timesteps)
        maps = [saturate(in_float32(self.stem, saturate(x)))]
        known = [] if anatomy is None else self.encode_structure(anatomy)
        for i, (stage, add) in enumerate(zip(self.encoder, self.encoder_steps, strict=True)):
            y = self._run(stage, maps[-1])
            maps.append(add(saturate(y + known[i]) if known else y, steps))
        y = maps.pop()
        for up, fuse, stage, add in zip(self.ups, [*self.fuses, None], self.decoder, self.decoder_steps, strict=True):
            skip = maps.pop()
            y = torch.cat((crop(up(y), skip.shape[2:], first_axis=2), skip), 1)
            y = add(self._run(stage, y if fuse is None else saturate(in_float32(fuse, y))), steps)
        return saturate(in_float32(self.head, y))

    def encode_structure(self, anatomy: Tensor) -> list[Tensor]:
        """The maps of the anatomy that are added to those of the dose, from the highest resolution down."""
        y = saturate(in_float32(self.structure_stem, saturate(anatomy)))
        maps = []
        for stage in self.structure_encoder:
            y = self._run(stage, y)
            maps.append(y)
        return maps

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        return run(stage, x, use_checkpoint=self.use_checkpoint)
