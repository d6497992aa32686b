"""The frame of hierarchical encoders: patch embedding, stages, and a step to half the resolution between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_input


class Pyramid(nn.Module):
    """Embed patches, run stages on grids with channels last, and halve the grid after each stage but the last.

    The shape of VMamba (arXiv 2401.10166), figure 3, with any blocks.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        dims: channels of each stage.
        patch_embed: makes the first grid (B, *S, dims[0]) of an image.
        stages: one module a stage, each keeps the shape of its grid.
        merges: the steps between them, one less.

    Shape:
        x (B, in_channels, *S) of any size; returns a list of grids (B, *S_i, dims[i]), channels last, the results of
        the stages.

    Raises:
        ValueError: when the input does not fit.
        TypeError: when the input is not of floating point.

    Example:
        >>> import torch
        >>> from medmamba_monai.networks.blocks.patches import PatchEmbed, PatchMerging
        >>> net = Pyramid(2, 1, [8, 16], PatchEmbed(2, 1, 8, 4), [nn.Identity(), nn.Identity()], [PatchMerging(2, 8)])
        >>> [tuple(grid.shape) for grid in net(torch.zeros(1, 1, 20, 16))]
        [(1, 5, 4, 8), (1, 3, 2, 16)]
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        dims: Sequence[int],
        patch_embed: nn.Module,
        stages: Sequence[nn.Module],
        merges: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels, self.dims = spatial_dims, in_channels, tuple(dims)
        self.patch_embed = patch_embed
        self.stages = nn.ModuleList(stages)
        self.merges = nn.ModuleList(merges)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [after for _, after in self.steps(x)]

    def stage_inputs(self, x: Tensor) -> list[Tensor]:
        """What goes into each stage, (B, *S_i, dims[i]), and last what comes out of the last stage."""
        steps = list(self.steps(x))
        return [*(before for before, _ in steps), steps[-1][1]]

    def steps(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Input and result of each stage."""
        check_input(x, self.spatial_dims, self.in_channels)
        before = self.patch_embed(x)
        for i, stage in enumerate(self.stages):
            after = stage(before)
            yield before, after
            if i < len(self.merges):
                before = self.merges[i](after)

    def freeze(self, frozen: bool = True, patch_embed: bool = True) -> None:
        """Stop (or let go on) the training of the encoder, its patch embedding included or not.

        Example:
            >>> net = Pyramid(2, 1, [4], nn.Conv2d(1, 4, 2, 2), [nn.Identity()], [])
            >>> net.freeze()
            >>> any(p.requires_grad for p in net.parameters())
            False
        """
        for name, parameter in self.named_parameters():
            if patch_embed or not name.startswith("patch_embed."):
                parameter.requires_grad_(not frozen)
