"""Sliding windows with mirrored copies, ensembles of folds, and gradient clipping, for planned bundles."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from monai.inferers.inferer import SlidingWindowInferer
from torch import Tensor, nn

from medmamba_monai.collection.checkpoint import load_weights
from medmamba_monai.collection.checks import InputError

__all__ = ["FoldMean", "SlidingMirrorInferer", "clip_gradients", "mean_of_files", "mean_of_folds", "trained_folds"]


class SlidingMirrorInferer(SlidingWindowInferer):
    """MONAI's sliding window; each window is also predicted mirrored, and the logits are averaged.

    Args:
        mirror_axes: axes of the image that are mirrored, in all combinations; none to predict once.
        options: arguments of MONAI's ``SlidingWindowInferer``.

    Example:
        >>> inferer = SlidingMirrorInferer([0], roi_size=[4, 4])
        >>> image = torch.rand(1, 1, 6, 5)
        >>> torch.allclose(inferer(image, torch.nn.Identity()), image, atol=1e-6)
        True
    """

    def __init__(self, mirror_axes: Sequence[int] = (), **options: Any) -> None:
        super().__init__(**options)
        axes = [axis + 2 for axis in mirror_axes]
        self.mirrors = [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def averaged(window: Tensor, *more: Any, **named: Any) -> Tensor:
            total: Tensor = network(window, *more, **named)
            for axes in self.mirrors[1:]:
                total = total + network(window.flip(axes), *more, **named).flip(axes)
            return total / len(self.mirrors)

        return super().__call__(inputs, averaged, *args, **kwargs)


class FoldMean(nn.Module):
    """The mean of the logits of several networks.

    Args:
        networks: networks of one architecture.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = torch.stack([network(x) for network in self.networks]).mean(0)
        return total


def trained_folds(ckpt_dir: str | Path) -> list[Path]:
    """The weights of the folds that were trained.

    Args:
        ckpt_dir: folder ``models`` of a planned bundle.
    """
    return sorted(Path(ckpt_dir).glob("fold_*/model.pt"))


def mean_of_folds(network: nn.Module, ckpt_dir: str | Path) -> FoldMean:
    """An ensemble of all trained folds.

    Args:
        network: network of the folds' architecture.
        ckpt_dir: folder ``models`` of a planned bundle.

    Raises:
        InputError: no fold was trained.
    """
    files = trained_folds(ckpt_dir)
    if not files:
        raise InputError(f"{ckpt_dir} holds no fold_0/model.pt: train the folds first")
    return mean_of_files(network, files)


def mean_of_files(network: nn.Module, files: Sequence[str | Path]) -> FoldMean:
    """An ensemble of the weights in several files, or in one.

    Args:
        network: network of their architecture.
        files: the files.

    Raises:
        InputError: a file is missing or does not fit.
    """
    networks = [copy.deepcopy(network) for _ in files]
    for file, member in zip(files, networks, strict=True):
        load_weights(file, [member])
    return FoldMean(networks)


def clip_gradients(most: float) -> Callable[..., None]:
    """A hook for an optimizer that keeps the norm of all gradients below a limit.

    Under automatic mixed precision it runs after the gradients were unscaled.

    Args:
        most: largest norm.

    Example:
        >>> weight = nn.Parameter(torch.zeros(1))
        >>> sgd = torch.optim.SGD([weight], lr=1.0)
        >>> _ = sgd.register_step_pre_hook(clip_gradients(2.0))
        >>> weight.grad = torch.tensor([-50.0])
        >>> sgd.step()
        >>> round(weight.item(), 3)
        2.0
    """

    def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], most)

    return hook
