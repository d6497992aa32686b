"""VM-DDPM: the noise of an image from a U-Net of convolutions and scans that know the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice, check_positive, per_stage
from medmamba_monai.networks.blocks.checkpoint import run
from medmamba_monai.networks.blocks.patches import crop
from medmamba_monai.networks.blocks.step_layers import StateSpaceLayer, StepResidualBlock, group_norm
from medmamba_monai.networks.blocks.timesteps import check_timesteps, split_condition
from medmamba_monai.networks.layers.precision import in_float32, saturate
from medmamba_monai.networks.nets.variant import PublishedNetwork, Source, Variant

SNAKES = MappingProxyType(
    {
        2: "snake:hw+snake:wh+-snake:hw+-snake:wh",
        3: "snake:dhw+snake:hwd+snake:wdh+-snake:dhw+-snake:hwd+-snake:wdh",
    }
)


class VMDDPM(PublishedNetwork):
    """Predict the noise in an image, to generate images with a diffusion model.

    VM-DDPM (arXiv 2405.05667). It is called as MONAI's `DiffusionModelUNet`, so that `monai.inferers.DiffusionInferer`
    trains and samples it with MONAI's schedulers.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the noisy image.
        out_channels: channels of the predicted noise; those of the image if None.
        condition_channels: channels of a map that tells what to generate, for example a mask; 0 for none.
        dims: channels of each level.
        depths: state-space layers of each level, on the way down and on the way up.
        order: name of the scan order, see `medmamba_monai.ops.scan_order`; if None rows and columns both ways in
            which every second line runs backwards, so that neighbours in the sequence are neighbours in the image.
        d_state: numbers in the state of each channel.
        d_conv: odd kernel size of the depthwise convolutions.
        expand: inner width of the scans over the channels.
        use_checkpoint: while training, compute the layers again instead of keeping what is inside them.

    Shape:
        x (B, in_channels, *S) of any size, timesteps (B,) or (1,), context (B, condition_channels, *S); or x
        (B, in_channels + condition_channels, *S) without context. Returns (B, out_channels, *S).

    Raises:
        ValueError: when an argument is out of range or the inputs do not fit.
        TypeError: when an image is not of floating point.

    Example:
        >>> net = VMDDPM(2, 1, dims=[8, 16], depths=[1, 1])
        >>> net(torch.zeros(2, 1, 17, 20), torch.tensor([3, 999])).shape
        torch.Size([2, 1, 17, 20])

    Notes:
        The authors published no code. Built from what the paper's abstract and a survey say: an encoder and a decoder
        of state-space layers, each a residual block of convolutions and a VSS block, both given the step, and scans
        whose sequences are put in another order, at no cost in parameters, to keep neighbours together. The rest is
        the U-Net of DDPM (arXiv 2006.11239) without its attention. 15.2 million parameters are printed; widths and
        depths with as many are our choice, and so is the condition.
    """

    variants: ClassVar[Mapping[str, Variant]] = MappingProxyType({"defaults": Variant({}, 15_193_537)})
    source: ClassVar[Source] = Source(
        "VM-DDPM: Vision Mamba Diffusion for Medical Image Synthesis (arXiv 2405.05667)",
        "none published",
        "no code to license",
        "built from the abstract and a survey's description; nothing to compare with but the number of parameters",
    )

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int | None = None,
        condition_channels: int = 0,
        dims: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (2, 2, 2),
        order: str | None = None,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_positive(in_channels=in_channels, out_channels=out_channels)
        if condition_channels < 0:
            raise ValueError(f"condition_channels is {condition_channels}: give a number of at least 0")
        per_stage("depths", depths, len(per_stage("dims", dims, len(dims))))
        if dims[0] < 4 or dims[0] % 2:
            raise ValueError(f"dims is {list(dims)}: begin with an even number of at least 4, the sines of the step")
        self.spatial_dims, self.in_channels, self.condition_channels = spatial_dims, in_channels, condition_channels
        self.dim, self.use_checkpoint = dims[0], use_checkpoint
        conv, steps = Conv[Conv.CONV, spatial_dims], 4 * dims[0]
        scan: dict[str, Any] = {"order": order or SNAKES[spatial_dims], "d_state": d_state}
        scan |= {"d_conv": d_conv, "expand": expand}

        def level(in_channels: int, channels: int, depth: int) -> nn.ModuleList:
            widths = [in_channels, *[channels] * depth]
            return nn.ModuleList(
                StateSpaceLayer(spatial_dims, a, b, steps, **scan) for a, b in zip(widths, widths[1:], strict=False)
            )

        self.steps = nn.Sequential(nn.Linear(dims[0], steps), nn.SiLU(), nn.Linear(steps, steps))
        self.stem = conv(in_channels + condition_channels, dims[0], 3, padding=1)
        self.encoder = nn.ModuleList(map(level, dims, dims, depths))
        self.downs = nn.ModuleList(conv(a, b, 3, stride=2, padding=1) for a, b in zip(dims, dims[1:], strict=False))
        last = dims[-1]
        self.middle = nn.ModuleList(
            [
                StateSpaceLayer(spatial_dims, last, last, steps, **scan),
                StepResidualBlock(spatial_dims, last, last, steps),
            ]
        )
        upper, up_depths = list(reversed(dims)), list(reversed(depths))
        self.ups = nn.ModuleList(conv(a, b, 3, padding=1) for a, b in zip(upper, upper[1:], strict=False))
        self.decoder = nn.ModuleList(map(level, [2 * width for width in upper], upper, up_depths))
        self.norm, self.head = group_norm(dims[0]), conv(dims[0], out_channels, 3, padding=1)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        image, condition = split_condition(x, context, self.spatial_dims, self.in_channels, self.condition_channels)
        check_timesteps(timesteps, x.shape[0])
        sines = get_timestep_embedding(timesteps, self.dim)
        steps = self.steps(sines.to(self.head.weight.dtype))
        y = image if condition is None else torch.cat((image, condition), 1)
        y = saturate(in_float32(self.stem, saturate(y)))
        skips = []
        for i, layers in enumerate(self.encoder):
            y = self._run(layers, saturate(in_float32(self.downs[i - 1], y)) if i else y, steps)
            skips.append(y)
        y = self._run(self.middle, y, steps)
        for i, layers in enumerate(self.decoder):
            skip = skips.pop()
            if i:
                y = crop(F.interpolate(y, scale_factor=2.0), skip.shape[2:], first_axis=2)
                y = saturate(in_float32(self.ups[i - 1], y))
            y = self._run(layers, torch.cat((y, skip), 1), steps)
        return saturate(in_float32(self.head, F.silu(self.norm(y))))

    def _run(self, layers: nn.Module, x: Tensor, steps: Tensor) -> Tensor:
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            x = run(layer, x, steps, use_checkpoint=self.use_checkpoint)
        return x
