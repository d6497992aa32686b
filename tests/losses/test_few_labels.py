"""Losses for few labels against their equations, written once more, image by image and patch by patch."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor

from medmamba_monai.losses import CrossPseudoLoss, MaskedImageLoss, ScribbleLoss, ramp_up
from medmamba_monai.losses.pseudo_labels import _distance

# Dice with squares over the whole batch, as the authors have it
DICE = DiceLoss(to_onehot_y=True, softmax=True, batch=True, squared_pred=True, smooth_nr=1e-5, smooth_dr=1e-5)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def test_the_ramp_is_that_of_the_paper() -> None:
    assert ramp_up(0, 10) == math.exp(-5) and ramp_up(5, 10, 2.0) == 2 * math.exp(-1.25)
    assert ramp_up(10, 10) == ramp_up(99, 10) == 1


@pytest.mark.parametrize("size", [(5, 4), (3, 4, 2)])
def test_two_networks_learn_from_labels_and_from_each_other(size: tuple[int, ...]) -> None:
    first, second = draw(4, 3, *size), draw(4, 3, *size, seed=1)
    label = torch.randint(3, (4, 1, *size)).float()
    label[2:] = -1
    expected = torch.tensor(0.0)
    for own, other in ((first, second), (second, first)):
        taught = F.cross_entropy(own[:2], label[:2, 0].long()) + DICE(own[:2], label[:2])
        answered = DICE(own[2:], other[2:].argmax(1, keepdim=True))
        means = [views.flatten(2).mean(2) for views in (own, other)]
        units = [mean / mean.norm(dim=1, keepdim=True) for mean in means]
        expected = expected + taught / 2 + 0.3 * answered + 0.5 * ((units[0] - units[1]) ** 2).sum() / (4 * 3)
    loss = CrossPseudoLoss()
    loss.set_weight(0.3)
    torch.testing.assert_close(loss(torch.stack((first, second), 1), label), expected)


def test_what_is_unknown_in_a_labelled_image_counts_for_nothing() -> None:
    logits, label = draw(2, 2, 3, 4, 4), torch.randint(3, (2, 1, 4, 4))
    label[:, :, 2:] = 255
    other = logits.clone()
    other[..., 2:, :] += draw(2, 2, 3, 2, 4, seed=2)
    loss = CrossPseudoLoss(contrast=0.0, unknown=255)
    torch.testing.assert_close(loss(logits, label), loss(other, label))
    assert loss(logits, label) > 0.1


@pytest.mark.parametrize("labelled", [True, False])
def test_batches_of_one_kind(labelled: bool) -> None:
    logits = draw(2, 2, 3, 4, 4).requires_grad_()
    label = torch.zeros(2, 1, 4, 4) if labelled else torch.full((2, 1, 4, 4), -1)
    loss = CrossPseudoLoss()(logits, label)
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all() and logits.grad.abs().sum() > 0


def test_levels_of_the_distance() -> None:
    a = draw(1, 3, 6)
    turned = a.flip(2)
    assert _distance(a, turned, "image") < 1e-12 < _distance(a, turned, "pixel")
    torch.testing.assert_close(_distance(a, -a, "pixel"), torch.tensor(4 / 3))


def test_scribbles_and_the_mixture_of_three() -> None:
    logits = draw(2, 3, 4, 5, 6)
    scribble = torch.full((2, 1, 5, 6), 4)
    scribble[0, 0, 2, 1:4], scribble[1, 0, 4] = 1, 3
    torch.manual_seed(3)
    low, high = torch.rand(2).sort().values.tolist()
    chances = [view.softmax(1) for view in logits.unbind(1)]
    mixture = low * chances[0] + (high - low) * chances[1] + (1 - high) * chances[2]
    answer = mixture.argmax(1, keepdim=True)
    expected = torch.tensor(0.0)
    for view in logits.unbind(1):
        expected = expected + F.cross_entropy(view, scribble[:, 0], ignore_index=4) + 0.7 * DICE(view, answer)
    torch.manual_seed(3)
    torch.testing.assert_close(ScribbleLoss(0.7, unknown=4)(logits, scribble), expected)
    assert ScribbleLoss()(logits, torch.full((2, 1, 5, 6), -1)).isfinite()


def test_wrong_shapes_and_names_are_refused() -> None:
    for loss in (CrossPseudoLoss(), ScribbleLoss()):
        with pytest.raises(ValueError, match="at least two networks"):
            loss(torch.zeros(2, 1, 3, 4, 4), torch.zeros(2, 1, 4, 4))
        with pytest.raises(ValueError, match="at least two networks"):
            loss(torch.zeros(2, 2, 3, 4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="'image', 'pixel'"):
        CrossPseudoLoss(level="voxel")


@pytest.mark.parametrize("normalise", [True, False])
def test_only_hidden_patches_count(normalise: bool) -> None:
    image, painted = draw(2, 2, 4, 6, 4), draw(2, 2, 4, 6, 4, seed=1)
    hidden = torch.zeros(2, 1, 4, 6, 4)
    total, count = 0.0, 0
    for b, z, y, x in product(range(2), range(2), range(2), range(1)):
        part = (b, slice(None), slice(2 * z, 2 * z + 2), slice(3 * y, 3 * y + 3), slice(4 * x, 4 * x + 4))
        if (b + z + y) % 3:
            hidden[part] = 1
            wanted = image[part]
            wanted = (wanted - wanted.mean()) / (wanted.var() + 1e-6).sqrt() if normalise else wanted
            total, count = total + ((painted[part] - wanted) ** 2).mean().item(), count + 1
    loss = MaskedImageLoss([2, 3, 4], normalise)
    target = torch.cat((image, hidden), 1)
    torch.testing.assert_close(loss(painted, target), torch.tensor(total / count))
    torch.testing.assert_close(loss(painted + 5 * (1 - hidden), target), torch.tensor(total / count))


def test_targets_without_mask_and_odd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="the mask behind them"):
        MaskedImageLoss()(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match="size 17 is not divisible by the patch's 16: pad to 32"):
        MaskedImageLoss()(torch.zeros(1, 1, 16, 17), torch.zeros(1, 2, 16, 17))
