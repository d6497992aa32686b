"""Networks side by side and hidden patches, inside MONAI's trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.handlers import ParamSchedulerHandler
from monai.networks import copy_model_state
from monai.networks.nets import UNet
from torch import Tensor, nn

from medmamba_monai.engines import PrepareMaskedBatch, Reconstructor, Views
from medmamba_monai.losses import CrossPseudoLoss, MaskedImageLoss, ScribbleLoss, ramp_up
from medmamba_monai.networks.nets import MambaUNet, VMamba

SMALL: dict[str, Any] = {"spatial_dims": 2, "in_channels": 1, "depths": [1, 1], "dims": [4, 8]}


def segmenters(count: int) -> Views:
    torch.manual_seed(0)
    unet = UNet(2, 1, 3, channels=(4, 8), strides=(2,))
    return Views([unet, *(MambaUNet(**SMALL, out_channels=3) for _ in range(count - 1))])


def two_steps(network: nn.Module, loss: nn.Module, items: list[dict[str, Tensor]], **more: Any) -> SupervisedTrainer:
    """Train on two batches; every parameter must have moved."""
    before = {key: value.clone() for key, value in network.named_parameters()}
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), 1e-3),
        loss_function=loss,
        **more,
    )
    trainer.run()
    assert trainer.state.iteration == 2
    assert [key for key, value in network.named_parameters() if torch.equal(value, before[key])] == []
    return trainer


def images(size: tuple[int, ...] = (16, 16)) -> list[dict[str, Tensor]]:
    numbers = torch.Generator().manual_seed(1)
    return [
        {"image": torch.randn(1, *size, generator=numbers), "label": torch.randint(3, (1, *size), generator=numbers)}
        for _ in range(4)
    ]


def test_two_steps_with_unlabelled_images() -> None:
    items = images()
    for item in items[1::2]:
        item["label"] = torch.full_like(item["label"], -1)
    loss = CrossPseudoLoss(weight=0.0)
    weight = ParamSchedulerHandler(loss.set_weight, ramp_up, {"steps": 2, "final": 0.1})
    two_steps(segmenters(2), loss, items, train_handlers=[weight])
    assert loss.weight == 0.1


def test_two_steps_with_scribbles() -> None:
    items = images()
    for item in items:
        item["label"][:, 4:] = -1
    trainer = two_steps(segmenters(3), ScribbleLoss(), items)
    assert trainer.state.output[0]["pred"].shape == (3, 3, 16, 16)


def test_two_steps_with_hidden_patches_start_a_segmentation() -> None:
    painter = MambaUNet(**SMALL, out_channels=1)
    two_steps(painter, MaskedImageLoss(8), images(), prepare_batch=PrepareMaskedBatch(8))
    segmenter = MambaUNet(**SMALL, out_channels=3)
    _, _, kept = copy_model_state(segmenter, painter)
    assert kept and all(key.startswith("head.") for key in kept), kept
    torch.testing.assert_close(segmenter.encoder.state_dict(), painter.encoder.state_dict())


def test_two_steps_of_an_encoder_start_a_classifier() -> None:
    shape = {"spatial_dims": 3, "in_channels": 1, "depths": [1, 1], "dims": [4, 8], "patch_size": 2}
    painter = Reconstructor(VMamba(**shape, num_classes=0, features_only=True), 3, channels=8, stride=4)
    two_steps(painter, MaskedImageLoss([4, 8, 8]), images((8, 8, 16)), prepare_batch=PrepareMaskedBatch([4, 8, 8]))
    classifier = VMamba(**shape, num_classes=2)
    _, _, kept = copy_model_state(classifier, painter.encoder)
    assert set(kept) <= {"norm.weight", "norm.bias", "head.weight", "head.bias"}, kept


def test_the_number_of_hidden_patches_is_that_of_the_ratio() -> None:
    image = torch.rand(3, 2, 12, 20) + 1
    given, target = PrepareMaskedBatch([4, 5], ratio=0.6)({"image": image})
    cells = target[:, -1].unfold(1, 4, 4).unfold(2, 5, 5).flatten(3)
    assert torch.equal(cells.amin(-1), cells.amax(-1)) and cells[..., 0].flatten(1).sum(1).tolist() == [7, 7, 7]
    assert len({tuple(row.tolist()) for row in cells[..., 0].flatten(1)}) > 1
    assert torch.equal(target[:, :2], image) and torch.equal(given == 0, (target[:, 2:] == 1).expand_as(given))


def test_wrong_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="ratio is 1.0"):
        PrepareMaskedBatch(ratio=1.0)
    with pytest.raises(ValueError, match="size 12 is not divisible by the patch's 8: pad to 16"):
        PrepareMaskedBatch(8)({"image": torch.zeros(1, 1, 12, 8)})
    with pytest.raises(ValueError, match="1 of 1 patches would be hidden"):
        PrepareMaskedBatch(8)({"image": torch.zeros(1, 1, 8, 8)})


def test_wrong_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="there are 1 networks"):
        Views([nn.Identity()])
    with pytest.raises(TypeError, match="Lists gives a list: set deep_supervision=False"):
        Views([nn.Identity(), _Lists()])(torch.zeros(1, 1, 4, 4))
    encoder = VMamba(**SMALL, num_classes=0, features_only=True)
    with pytest.raises(ValueError, match="give the stride of the encoder's last map"):
        Reconstructor(encoder, 2, channels=8, stride=4)(torch.zeros(1, 1, 16, 16))


def test_all_parts_are_built_from_json(tmp_path: Path) -> None:
    small = {"_target_": "medmamba_monai.networks.nets.MambaUNet", **SMALL, "out_channels": 3}
    config = {
        "network": {"_target_": "medmamba_monai.engines.Views", "networks": [small, small]},
        "loss": {"_target_": "medmamba_monai.losses.CrossPseudoLoss", "level": "pixel"},
        "scribble_loss": {"_target_": "medmamba_monai.losses.ScribbleLoss"},
        "prepare_batch": {"_target_": "medmamba_monai.engines.PrepareMaskedBatch", "patch_size": 8},
    }
    parser = ConfigParser(config)
    logits = parser.get_parsed_content("network")(parser.get_parsed_content("prepare_batch")(_batch())[0])
    label = torch.zeros(2, 1, 16, 16)
    assert all(parser.get_parsed_content(name)(logits, label).isfinite() for name in ("loss", "scribble_loss"))


def _batch() -> dict[str, Tensor]:
    return {"image": torch.stack([item["image"] for item in images()[:2]])}


class _Lists(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]
