"""One way to freeze the encoder of any network, and the maps of those that give them."""

from __future__ import annotations

import pytest
import torch

from medmamba_monai.networks.nets import MedMamba, MicroscopicMamba, PlainMamba, SwinUMamba, UltraLightVMUNet, VMUNet
from medmamba_monai.networks.nets.variant import PublishedNetwork
from tests.networks.cases import CASES, build

FIRST_CASES = {name: case for case, (name, _) in reversed(CASES.items())}
NETWORKS = (
    "ComposedUNet", "EfficientVMamba", "HMTUNet", "HVMUNet", "LightMUNet", "LKMUNet", "LocalVMamba", "LocalVim",
    "MHSVM", "MSVMUNet", "MambaND", "MambaUNet", "MedMamba", "MicroscopicMamba", "PlainMamba", "SegMamba",
    "SliceMamba", "SwinUMamba", "SwinUMambaD", "UMamba", "UltraLightVMUNet", "VMUNet", "VMUNetV2", "VMamba", "Vim",
)  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_encoder_can_be_frozen(name: str) -> None:
    net = build(FIRST_CASES[name])
    net.freeze_encoder()
    frozen = [key for key, p in net.named_parameters() if not p.requires_grad]
    learnt = [key for key, p in net.named_parameters() if p.requires_grad]
    assert frozen and learnt
    assert not any(key.startswith(("head", "heads", "decoder", "up.", "ups.")) for key in frozen)
    net.freeze_encoder(False)
    assert all(p.requires_grad for p in net.parameters())


def test_a_network_without_an_encoder_says_so() -> None:
    class Plain(PublishedNetwork):
        pass

    with pytest.raises(ValueError, match="Plain has no encoder"):
        Plain().freeze_encoder()


def test_a_frozen_encoder_keeps_its_statistics_and_drops_nothing() -> None:
    net = MicroscopicMamba(2, 1, 3, depths=[1, 1], dims=[32, 64], drop_path_rate=0.9).train()
    x = torch.randn(4, 1, 16, 16)
    net.freeze_encoder()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    a, b = net(x), net(x)
    assert torch.equal(a, b)
    net.eval()
    assert torch.equal(net(x), a)
    net.train()
    a.sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.head.weight.grad is not None and net.encoder.stages[0][0].conv1.weight.grad is None
    net.freeze_encoder(False)
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize(
    ("net", "first"),
    [
        (VMUNet(2, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16]), "encoder.patch_embed."),
        (SwinUMamba(2, 1, 2, depths=[1, 1], dims=[8, 16]), "stem."),
        (PlainMamba(2, 1, 2, img_size=8, patch_size=4, dim=8, depth=1), "patch_embed."),
    ],
    ids=["vm_unet", "swin_umamba", "plain_mamba"],
)
def test_the_first_layers_may_go_on(net: torch.nn.Module, first: str) -> None:
    net.freeze_encoder(patch_embed=False)
    states = {key: p.requires_grad for key, p in net.named_parameters()}
    assert all(state for key, state in states.items() if key.startswith(first))
    assert not any(state for key, state in states.items() if key.startswith(("encoder.stages.", "mixers.")))


def test_light_networks_freeze_what_lies_in_their_frame() -> None:
    net = UltraLightVMUNet(2, 1, 2)
    net.freeze_encoder()
    assert {key.split(".")[1] for key, p in net.named_parameters() if not p.requires_grad} == {
        "encoder",
        "encoder_norms",
    }


def test_medmamba_gives_its_maps() -> None:
    given = {"depths": [1, 1], "dims": [8, 16]}
    net, pyramid = (MedMamba(2, 1, 3, features_only=only, **given).eval() for only in (False, True))
    pyramid.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("head")})
    x = torch.randn(2, 1, 20, 17)
    maps = pyramid(x)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 5, 5), (2, 16, 3, 3)]
    assert torch.equal(maps[-1], net.feature_map(x))
