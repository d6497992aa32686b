"""Encoders that start from a classifier's checkpoint."""

from __future__ import annotations

import pytest
import torch

from medmamba_monai.networks.blocks.vss import VSSEncoder
from medmamba_monai.networks.nets import (
    ComposedUNet,
    MambaUNet,
    MSVMUNet,
    SliceMamba,
    SwinUMamba,
    VMamba,
    VMUNet,
    VMUNetV2,
)
from medmamba_monai.networks.nets.vmamba import CURRENT
from medmamba_monai.weights import WeightsError, load_encoder
from tests.networks.test_oracles import FOLDER
from tests.oracles.oracle import Oracle

SMALL = {"depths": [1, 1], "dims": [8, 16]}


def classifier(**arguments: object) -> VMamba:
    torch.manual_seed(0)
    return VMamba(2, 3, 4, **{**SMALL, **arguments}).eval()


def test_the_pyramid_is_the_classifiers() -> None:
    source, net = classifier(), VMUNet(2, 3, 1, depths_decoder=[1, 1], **SMALL).eval()
    loaded = load_encoder(net.encoder, source.state_dict())
    assert loaded.kept == [] and sorted(loaded.unused) == ["head.bias", "head.weight", "norm.bias", "norm.weight"]
    x = torch.randn(1, 3, 16, 16)
    for a, b in zip(net.encoder(x), source.encoder(x), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("channels", [1, 6])
def test_other_channels_see_the_repeated_image_alike(channels: int) -> None:
    source, net = classifier(), VMUNet(2, channels, 1, depths_decoder=[1, 1], **SMALL).eval()
    assert load_encoder(net.encoder, source.state_dict()).kept == []
    x = torch.randn(1, 1, 16, 16)
    given, wanted = net.encoder(x.expand(-1, channels, -1, -1)), source.encoder(x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(given[-1], wanted[-1])


def test_another_patch_embedding_keeps_its_values() -> None:
    net = SwinUMamba(2, 1, 2, **SMALL)
    before = net.encoder.patch_embed.proj.weight.clone()
    loaded = load_encoder(net.encoder, classifier().state_dict())
    assert loaded.kept == ["patch_embed.proj.weight"]
    assert torch.equal(net.encoder.patch_embed.proj.weight, before)


def test_the_authors_names_and_the_first_blocks_of_deeper_stages() -> None:
    oracle = Oracle(FOLDER / "vmamba_v2.json")
    net = MSVMUNet(2, 1, 2, depths=[1, 1, 1, 1], dims=[16, 32, 64, 128], expand=oracle.meta["ctor"]["ssm_ratio"])
    loaded = load_encoder(net.encoder, {"model": oracle.state_dict()})
    assert loaded.kept == []
    assert {key.split(".")[0:4][-1] for key in loaded.unused if key.startswith("encoder.stages")} == {"1"}
    value = oracle.state_dict()["layers.2.blocks.0.mlp.fc1.weight"].reshape(256, 64)
    assert torch.equal(net.encoder.stages[2][0].mlp.fc1.weight, value)


def test_what_does_not_fit_is_named() -> None:
    net = VMUNet(2, 3, 1, depths_decoder=[1, 1], **SMALL)
    with pytest.raises(WeightsError, match=r"stages.0.0.mixer.in_proj.weight has shape \(16, 8\).*d_state"):
        load_encoder(net.encoder, classifier(**CURRENT).state_dict())
    with pytest.raises(WeightsError, match="stages.0.1.norm.weight is missing"):
        load_encoder(VMUNet(2, depths=[2, 1], depths_decoder=[1, 1], dims=[8, 16]).encoder, classifier().state_dict())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["vm_unet", "vm_unet_v2", "mamba_unet", "slice_mamba", "composed"])
def test_every_encoder_of_the_first_form_starts_from_vmamba(name: str, channels: int) -> None:
    source = VMamba(2, 3, 4, depths=[1, 1], dims=[32, 64])
    given = {"depths": [1, 1], "dims": [32, 64]}
    net = {
        "vm_unet": lambda: VMUNet(2, channels, 1, depths_decoder=[1, 1], **given),
        "vm_unet_v2": lambda: VMUNetV2(2, channels, 1, depths=[1], dims=[32, 64], mid_channels=4),
        "mamba_unet": lambda: MambaUNet(2, channels, 1, **given),
        "slice_mamba": lambda: SliceMamba(2, channels, 1, depths_decoder=[1, 1], **given),
        "composed": lambda: ComposedUNet(2, channels, 1, patch_size=4, **given),
    }[name]()
    assert isinstance(net.encoder, VSSEncoder)
    assert load_encoder(net.encoder, source.state_dict()).kept == []
    net.freeze_encoder()
    assert net(torch.randn(1, channels, 32, 32)).shape == (1, 1, 32, 32)
    assert torch.equal(net.encoder.stages[0][0].mixer.A_logs, source.encoder.stages[0][0].mixer.A_logs)
