"""What only U-Mamba does: deep supervision, channel tokens, its designs, and its use in MONAI's workflows."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import nn

from medmamba_monai.networks.blocks.u_mamba import AveragePool, InstanceNorm
from medmamba_monai.networks.nets import UMamba
from medmamba_monai.networks.nets.umamba_variants import released_block_counts

SMALL = {"features": [4, 8, 8, 12], "n_blocks": 1, "n_decoder_blocks": 1}


def test_deep_supervision_in_training_only() -> None:
    net = UMamba(2, 1, 3, **SMALL, deep_supervision=True)
    x = torch.randn(1, 1, 32, 24)
    outputs = net(x)
    assert [tuple(y.shape[2:]) for y in outputs] == [(32, 24), (16, 12), (8, 6)]
    assert net.eval()(x).shape == (1, 3, 32, 24)
    net.train().deep_supervision = False
    assert torch.equal(net(x), outputs[0])


def test_outputs_follow_the_strides_of_each_axis() -> None:
    net = UMamba(3, 1, 2, features=[4, 4, 4], strides=[1, [1, 2, 2], [1, 3, 2]], deep_supervision=True, n_blocks=1)
    assert [tuple(y.shape[2:]) for y in net(torch.randn(1, 1, 4, 12, 8))] == [(4, 12, 8), (4, 6, 4)]


def test_a_network_without_deep_supervision_takes_the_weights_of_one_with_it() -> None:
    trained, plain = (UMamba(2, 1, 2, **SMALL, deep_supervision=d).eval() for d in (True, False))
    plain.load_state_dict(trained.state_dict(), strict=True)
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(plain(x), trained(x))


def test_it_learns_with_monai_s_deep_supervision_loss() -> None:
    torch.manual_seed(0)
    net = UMamba(2, 1, 2, **SMALL, deep_supervision=True)
    label = torch.zeros(2, 1, 24, 24)
    label[..., 6:16, 8:20] = 1
    image = label + 0.3 * torch.randn(label.shape)
    loss_function = DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True))
    optimizer = torch.optim.AdamW(net.parameters(), 0.005)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = loss_function(net(image), label)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_sliding_windows() -> None:
    net = UMamba(2, 1, 2, **SMALL, deep_supervision=True).eval()
    x = torch.randn(1, 1, 40, 33)
    assert SlidingWindowInferer((16, 24), sw_batch_size=2)(x, net).shape == (1, 2, 40, 33)


def test_channel_tokens_are_tied_to_one_size() -> None:
    net = UMamba(2, 1, 2, **SMALL, variant="encoder", channel_tokens=True, img_size=[24, 16]).eval()
    assert [getattr(mixer, "map_size", None) for mixer in net.mixers] == [None, None, None, (3, 2)]
    assert net.mixers[3].mamba.d_model == 6
    assert net(torch.randn(1, 1, 24, 16)).shape == (1, 2, 24, 16)
    with pytest.raises(ValueError, match=r"\(4, 2\) and its mixer was built for \(3, 2\).*img_size"):
        net(torch.randn(1, 1, 32, 16))


def test_mamba_stages() -> None:
    def places(**arguments: object) -> list[int]:
        net = UMamba(2, 1, 2, **SMALL, **arguments)
        return [s for s, mixer in enumerate(net.mixers) if not isinstance(mixer, nn.Identity)]

    assert places() == [3]
    assert places(variant="encoder") == [0, 1, 2, 3]
    assert places(mamba_stages=[1, 3]) == [1, 3]


def test_the_mixer_replaces_its_input() -> None:
    net = UMamba(2, 1, 2, **SMALL).eval()
    nn.init.zeros_(net.mixers[3].mamba.out_proj.weight)
    assert not net.encode(torch.randn(1, 1, 16, 16))[3].any()


def test_top_skip() -> None:
    x = torch.randn(1, 1, 16, 16)
    for top_skip, width in ((True, 8), (False, 4)):
        net = UMamba(2, 1, 2, **SMALL, top_skip=top_skip).eval()
        assert net.decoder[-1][0].conv1.in_channels == width
        skips = net.encode(x)
        changed = [skips[0] + 1, *skips[1:]]
        assert torch.equal(net.decode(skips), net.decode(changed)) is not top_skip


@pytest.mark.parametrize(
    ("stages", "encoder", "decoder"),
    [
        (4, [2, 2, 1, 1], [2, 2, 1]),
        (7, [2, 2, 2, 2, 1, 1, 1], [2, 2, 2, 2, 1, 1]),
    ],
)
def test_released_block_counts(stages: int, encoder: list[int], decoder: list[int]) -> None:
    assert released_block_counts(stages) == (encoder, decoder)


def test_instance_norm_is_torch_s() -> None:
    x = torch.randn(2, 3, 4, 5, 6)
    ours, theirs = InstanceNorm(3), nn.InstanceNorm3d(3, affine=True)
    nn.init.normal_(ours.weight)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


def test_average_pool_at_odd_sizes() -> None:
    pooled = AveragePool((2, 1))(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).reshape(1, 1, 3, 2))
    assert pooled.tolist() == [[[[2.0, 3.0], [5.0, 6.0]]]]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"features": [4]}, "at least 2"),
        ({"features": [4, 0]}, "features is 0"),
        ({"strides": [1, 2]}, "strides has 2 entries.*3"),
        ({"strides": [1, [2, 2, 2], 2]}, r"strides\[1\] has 3 entries.*2"),
        ({"kernel_sizes": 4}, "odd"),
        ({"n_blocks": [1, 1]}, "n_blocks has 2 entries"),
        ({"n_decoder_blocks": [1, 1, 1]}, "n_decoder_blocks has 3 entries"),
        ({"variant": "both"}, "variant is 'both': use one of 'bottleneck', 'encoder'"),
        ({"design": "mine"}, "design"),
        ({"mamba_stages": [3]}, "stages are 0 to 2"),
        ({"channel_tokens": True}, "img_size is None"),
        ({"channel_tokens": True, "img_size": [18, 16]}, "not divisible"),
        ({"expand": 0}, "expand is 0"),
        ({"d_conv": 0}, "d_conv is 0"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        UMamba(2, 1, 2, **{"features": [4, 8, 8], **arguments})
