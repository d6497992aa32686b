"""What only MedMamba does: odd sizes, features, its head and its shuffle."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medmamba_monai.networks.blocks.patches import PatchMerging
from medmamba_monai.networks.blocks.ss_conv_ssm import SSConvSSM
from medmamba_monai.networks.nets import MedMamba

SMALL = {"depths": [1, 1, 1], "dims": [8, 16, 32]}


def build(**arguments: object) -> MedMamba:
    torch.manual_seed(0)
    return MedMamba(2, 1, **{"num_classes": 3, **SMALL, **arguments}).eval()


def test_padding_and_cropping_agree_where_neither_is_needed() -> None:
    padded, cropped, x = build(), build(odd_sizes="crop"), torch.randn(2, 1, 32, 48)
    assert torch.equal(padded(x), cropped(x))
    x = torch.randn(2, 1, 36, 48)
    assert not torch.equal(padded(x), cropped(x))


def test_cropping_ignores_what_it_cuts() -> None:
    net, x = build(odd_sizes="crop"), torch.randn(1, 1, 34, 32)
    other = x.clone()
    other[..., 32:, :] = 9
    assert torch.equal(net(x), net(other))
    assert not torch.equal(build()(x), build()(other))


def test_too_small_to_crop() -> None:
    with pytest.raises(ValueError, match=r"size is \(15, 32\) and the smallest that works is \(16, 16\): pad it"):
        build(odd_sizes="crop")(torch.zeros(1, 1, 15, 32))


def test_medmnist_size() -> None:
    assert MedMamba.from_variant("tiny", num_classes=2, in_channels=1).eval()(torch.zeros(1, 1, 28, 28)).shape == (1, 2)


def test_features() -> None:
    net, x = build(num_classes=0), torch.randn(2, 1, 32, 32)
    features = net(x)
    assert features.shape == (2, 32)
    torch.testing.assert_close(features, net.feature_map(x).mean((2, 3)))


def test_dropout_acts_in_training_only() -> None:
    net, x = build(dropout=0.5, drop_path_rate=0.0), torch.randn(2, 1, 32, 32)
    assert torch.equal(net(x), net(x))
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    assert not torch.equal(net(x), net(x))


def test_the_halves_are_interleaved_and_added_to_the_input() -> None:
    block = SSConvSSM(2, 8).eval()
    x = torch.randn(1, 3, 5, 8)
    change = block(x) - x
    torch.testing.assert_close(change[..., 0::2], block.conv_branch(x[..., :4]))
    torch.testing.assert_close(change[..., 1::2], block.mixer(block.norm(x[..., 4:])))


def test_merging_takes_neighbours_rows_first() -> None:
    merge = PatchMerging(2, 1)
    seen = []
    merge.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    merge(torch.arange(4.0).reshape(1, 2, 2, 1))
    assert seen[0].flatten().tolist() == [0.0, 2.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"dims": [8, 16, 24]}, "twice"),
        ({"dims": [5, 10, 20]}, "even"),
        ({"depths": [1, 1]}, "depths has 2 entries"),
        ({"depths": [1, 0, 1]}, "depths is 0"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"drop_path_rate": 1.5}, "drop_path_rate is 1.5"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"odd_sizes": "keep"}, "odd_sizes is 'keep'"),
        ({"order": "whirl"}, "no scan order 'whirl'"),
        ({"patch_size": 0}, "patch_size is 0"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MedMamba(2, 1, **{"num_classes": 3, **SMALL, **arguments})
