"""Mean and deviation of several calls of a network that leaves parts of itself out at random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from medmamba_monai.networks.layers.masked_scan import MaskedScanMixer


class MonteCarlo(NamedTuple):
    """What several calls gave: their mean, and their standard deviation at each place, the map of uncertainty."""

    mean: Tensor
    std: Tensor


def monte_carlo(network: nn.Module, *inputs: Any, passes: int = 8, seed: int | None = 0) -> MonteCarlo:
    """Call a network several times in evaluation mode with its scans masked at random.

    MambaMIR (arXiv 2402.18451), section 2.2; arXiv 2405.17659 (Monte Carlo arbitrary scan masking).

    Args:
        network: it gives one tensor. Masked scans are drawn anew in each pass even where ``mask_inference`` is off;
            everything else is as in evaluation mode.
        inputs: what the network takes.
        passes: number of calls, at least 2.
        seed: start of the random numbers, the same result for the same seed; None goes on from where they are.

    Shape:
        mean and std, each of the shape of the network's output; std divides by ``passes - 1``.

    Raises:
        ValueError: when there are fewer than two passes, or nothing in the network is random.

    Example:
        >>> from medmamba_monai.networks.nets import MambaMIR
        >>> mean, std = monte_carlo(MambaMIR(2, 1, dim=8, depths=[1]), torch.rand(1, 1, 6, 5), passes=4)
        >>> mean.shape == std.shape == (1, 1, 6, 5)
        True

    Notes:
        The random numbers of the rest of the program are as they were afterwards, if there is a seed. No gradients are
        kept.
    """
    if passes < 2:
        raise ValueError(f"passes is {passes}: a deviation needs at least 2")
    if not any(isinstance(m, MaskedScanMixer) and m.masked for m in network.modules()):
        raise ValueError(f"{type(network).__name__} masks no scan: take a network with masked scans, as MambaMIR")
    with torch.no_grad(), _masked(network), torch.random.fork_rng([], enabled=seed is not None):
        if seed is not None:
            # the masks are drawn on the CPU, so no other generator is touched
            torch.default_generator.manual_seed(seed)
        mean = network(*inputs)
        squares = torch.zeros_like(mean)
        for count in range(2, passes + 1):
            step = network(*inputs)
            away = step - mean
            mean = mean + away / count
            squares = squares + away * (step - mean)
    return MonteCarlo(mean, (squares / (passes - 1)).sqrt())


@contextmanager
def _masked(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode with its scans masked; afterwards as it was."""
    before = [(m, m.training) for m in network.modules()]
    mixers = [(m, m.mask_inference) for m, _ in before if isinstance(m, MaskedScanMixer)]
    try:
        network.eval()
        for mixer, _ in mixers:
            mixer.mask_inference = True
        yield
    finally:
        for module, training in before:
            module.training = training
        for mixer, mask_inference in mixers:
            mixer.mask_inference = mask_inference
