"""Losses of networks that label for each other what nobody has labelled."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba_monai.networks.blocks.arguments import check_choice


def ramp_up(current_step: int, steps: int, final: float = 1.0) -> float:
    """A weight that grows from final / e^5 to final within a number of steps: final * exp(-5 (1 - t)^2).

    "Temporal Ensembling for Semi-Supervised Learning" (arXiv 1610.02242), section 3. The names of the arguments are
    those that ``monai.handlers.ParamSchedulerHandler`` passes.

    Example:
        >>> [round(ramp_up(step, 100, 0.1), 4) for step in (0, 50, 100, 200)]
        [0.0007, 0.0287, 0.1, 0.1]
    """
    missing = 1 - min(max(current_step / steps, 0.0), 1.0)
    return final * math.exp(-5 * missing * missing)


class CrossPseudoLoss(nn.Module):
    """Two or more networks learn from the labelled images, and from each other's answers to the others.

    Semi-Mamba-UNet (arXiv 2402.07245). For each network the half sum of cross entropy and Dice on labelled images,
    plus ``weight`` times Dice to the classes that another network gives unlabelled ones, plus ``contrast`` times the
    distance to what another network gives for the image, labelled or not. Losses of all networks are added up.

    Args:
        weight: weight of the networks' answers; let it grow with `ramp_up` through `set_weight`.
        contrast: weight of the distance, in the loss of each network.
        level: what is compared, by the direction of the vector of its logits: "image" (their mean) or "pixel".
        unknown: the number in the label that stands for "not labelled".

    Shape:
        logits (B, V, C, *S), of V networks as `medmamba_monai.engines.Views` stacks them; label (B, 1, *S) with class
        numbers. An image whose label is unknown everywhere is unlabelled; of others the unknown part counts for
        nothing. Returns one number.

    Raises:
        ValueError: when an argument is out of range or the shapes do not fit.

    Example:
        >>> logits = torch.zeros(2, 2, 3, 8, 8, requires_grad=True)
        >>> label = torch.zeros(2, 1, 8, 8)
        >>> label[1] = -1
        >>> CrossPseudoLoss()(logits, label).backward()

    Notes:
        Built from the authors' code (ziyangwang007/Mamba-UNet @ 38a6556), which takes the second half of a batch for
        unlabelled, two networks, weight 0.1 and contrast 0.5. The "pair of projectors" of the paper is in that code
        the mean over the image and the division by its length, without negatives and weights: ``level="image"``.
        "pixel" compares without the mean, as the paper's title has it.
    """

    def __init__(self, weight: float = 0.1, contrast: float = 0.5, level: str = "image", unknown: int = -1) -> None:
        super().__init__()
        check_choice("level", level, ("image", "pixel"))
        self.weight, self.contrast, self.level, self.unknown = weight, contrast, level, unknown

    def set_weight(self, weight: float) -> None:
        """Set the weight of the networks' answers, for ``monai.handlers.ParamSchedulerHandler``."""
        self.weight = weight

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        views, classes, known = _views(logits, label, self.unknown)
        unlabelled = ~known.flatten(1).any(1).view(-1, *(1,) * (known.dim() - 1)).expand_as(known)
        chances, answers = [view.softmax(1) for view in views], [view.argmax(1) for view in views]
        losses = []
        for i, view in enumerate(views):
            taught = (_cross_entropy(view, classes, known) + _dice(chances[i], classes, known)) / 2
            others = [j for j in range(len(views)) if j != i]
            answered = torch.stack([_dice(chances[i], answers[j], unlabelled) for j in others]).mean()
            apart = torch.stack([_distance(view, views[j], self.level) for j in others]).mean()
            losses.append(taught + self.weight * answered + self.contrast * apart)
        return torch.stack(losses).sum()


class ScribbleLoss(nn.Module):
    """Two or more networks learn from scribbles, and from a random mixture of all their answers.

    Weak-Mamba-UNet (arXiv 2402.10887). For each network cross entropy where something was drawn, plus ``weight`` times
    Dice to the likeliest class of the mixture. The shares of the mixture are the lengths of the pieces of a stick
    broken at random places, new in each call. Losses of all networks are added up.

    Args:
        weight: weight of the mixture.
        unknown: the number in the label that stands for "not drawn".

    Shape:
        logits (B, V, C, *S), of V networks as `medmamba_monai.engines.Views` stacks them; label (B, 1, *S) with class
        numbers. Returns one number.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> scribble = torch.full((2, 1, 8, 8), -1)
        >>> scribble[..., 3, 2:6] = 1
        >>> ScribbleLoss()(torch.zeros(2, 3, 4, 8, 8), scribble).isfinite().item()
        True

    Notes:
        The authors' code (ziyangwang007/Weak-Mamba-UNet @ 8290f2d) marks what was not drawn by the number of classes,
        4 for ACDC: ``unknown=4``. It computes a weight that grows and does not use it.
    """

    def __init__(self, weight: float = 1.0, unknown: int = -1) -> None:
        super().__init__()
        self.weight, self.unknown = weight, unknown

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        views, classes, known = _views(logits, label, self.unknown)
        chances = [view.softmax(1) for view in views]
        # drawn on the CPU, so that a seed gives the same shares on every device
        breaks = torch.cat((torch.zeros(1), torch.rand(len(views) - 1).sort().values, torch.ones(1)))
        mixture = torch.stack([share * p for share, p in zip(breaks.diff().tolist(), chances, strict=True)]).sum(0)
        answer, everywhere = mixture.argmax(1), torch.ones_like(known)
        losses = [
            _cross_entropy(view, classes, known) + self.weight * _dice(p, answer, everywhere)
            for view, p in zip(views, chances, strict=True)
        ]
        return torch.stack(losses).sum()


def _views(logits: Tensor, label: Tensor, unknown: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """The networks' logits, the classes with 0 for the unknown, and where they are known."""
    if logits.dim() < 4 or logits.shape[1] < 2 or label.shape != (logits.shape[0], 1, *logits.shape[3:]):
        raise ValueError(
            f"logits and label have shapes {tuple(logits.shape)} and {tuple(label.shape)}: give (batch, at least two "
            "networks, classes, ...) and (batch, 1, ...)"
        )
    classes = label.squeeze(1).long()
    known = classes != unknown
    return list(logits.float().unbind(1)), torch.where(known, classes, 0), known


def _cross_entropy(logits: Tensor, classes: Tensor, known: Tensor) -> Tensor:
    """The mean where the class is known, 0 where it is nowhere."""
    return (F.cross_entropy(logits, classes, reduction="none") * known).sum() / known.sum().clamp(min=1)


def _dice(chances: Tensor, classes: Tensor, counted: Tensor) -> Tensor:
    """1 - Dice with squares in the denominator, over the whole batch, mean of the classes; 0 where nothing counts."""
    target = F.one_hot(classes, chances.shape[1]).movedim(-1, 1) * counted.unsqueeze(1)
    chances = chances * counted.unsqueeze(1)
    axes = [0, *range(2, chances.dim())]
    smooth = 1e-5
    dice = (2 * (chances * target).sum(axes) + smooth) / (chances.square().sum(axes) + target.sum(axes) + smooth)
    return (1 - dice).mean()


def _distance(a: Tensor, b: Tensor, level: str) -> Tensor:
    if level == "image":
        a, b = a.flatten(2).mean(2), b.flatten(2).mean(2)
    return (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().mean()
