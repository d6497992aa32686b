"""Instance maps to classes and back; the transforms of head-and-neck CT; averages over mirror images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from PIL import Image

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.head_neck import HounsfieldUnitsd, RandMirrorSidesd
from medmamba_monai.collection.inferers import MirrorSegmentationInferer
from medmamba_monai.collection.instances import instance_metrics
from medmamba_monai.collection.outputs import LabelPictureSaverd
from medmamba_monai.collection.watershed import (
    InstanceBoundaryd,
    NumberedPiecesd,
    WatershedInstancesd,
    interior_and_boundary,
)


def discs() -> torch.Tensor:
    """Touching discs of several sizes, and one object of 2 x 2 pixels, which has no interior."""
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    label = torch.zeros(60, 80)
    for number, (row, column, radius) in enumerate([(15, 15, 10), (15, 34, 9), (40, 20, 12), (40, 60, 15)], start=3):
        label[((rows - row) ** 2 + (columns - column) ** 2 <= radius**2) & (label == 0)] = number
    label[2:4, 70:72] = 90
    return label[None]


def test_a_watershed_gives_the_objects_back() -> None:
    label = discs()
    classes = interior_and_boundary(label)
    assert set(classes.unique().tolist()) == {0.0, 1.0, 2.0} and ((classes > 0) == (label > 0)).all()
    chances = torch.nn.functional.one_hot(classes[0].long(), 3).permute(2, 0, 1).float()
    found = WatershedInstancesd("pred", min_size=4)({"pred": MetaTensor(chances)})["pred"]
    assert isinstance(found, MetaTensor) and found.unique().tolist() == [0, 1, 2, 3, 4, 5]
    measures = instance_metrics(found[0].numpy().astype(np.int64), label[0].numpy().astype(np.int64))
    assert measures["f1"] == 1 and measures["aji"] > 0.97
    without_small = WatershedInstancesd("pred", min_size=8)({"pred": chances})["pred"]
    assert without_small.max() == 4 and (without_small[0, :5, 68:] == 0).all()


def test_an_empty_and_a_full_picture() -> None:
    background = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1).expand(3, 9, 9)
    assert WatershedInstancesd("pred")({"pred": background})["pred"].max() == 0
    interior = torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1).expand(3, 9, 9)
    assert (WatershedInstancesd("pred")({"pred": interior})["pred"] == 1).all()


def test_only_instance_maps_get_boundaries() -> None:
    with pytest.raises(InputError, match="give one instance map"):
        InstanceBoundaryd("label")({"label": torch.zeros(3, 8, 8)})


def test_hounsfield_units_of_both_stores() -> None:
    stored, units = torch.tensor([[0.0, 100.0, 255.0]]), torch.tensor([[-1000.0, 40.0, 200.0]])
    transform = HounsfieldUnitsd(["a", "b"])
    found = transform({"a": stored, "b": units})
    assert found["a"].tolist() == [[-400.0, 0.0, 620.0]] and torch.equal(found["b"], units)


def test_mirrored_sides_exchange_their_labels_together_with_the_image() -> None:
    label = torch.randint(0, 6, (1, 5, 4, 3))
    mirror = RandMirrorSidesd(["image", "label"], "label", [(3, 4)], prob=0.5).set_random_state(0)
    seen = set()
    for _ in range(20):
        found = mirror({"image": label.float(), "label": label})
        moved = not torch.equal(found["image"], label.float())
        seen.add(moved)
        if moved:
            assert torch.equal(found["image"].flip(1), label.float())
            back = found["label"].flip(1)
            assert ((back == 3) == (label == 4)).all() and ((back == 4) == (label == 3)).all()
            assert ((back == 5) == (label == 5)).all()
        else:
            assert torch.equal(found["label"], label)
    assert seen == {True, False}


def test_mirror_images_are_turned_back_before_the_average() -> None:
    def network(image: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(4.0)[:, None] + 2 * torch.arange(3.0)
        return torch.stack([image[:, 0] * 0 + ramp, image[:, 0]], 1)

    image = torch.randn(1, 1, 4, 3)
    found = MirrorSegmentationInferer()(image, network).exp()
    parts = [network(image.flip(axes)).softmax(1).flip(axes) for axes in ((), (2,), (3,), (2, 3))]
    assert torch.allclose(found, torch.stack(parts).mean(0), atol=1e-6)


@pytest.mark.parametrize(("highest", "mode"), [(200, "L"), (700, "I;16")])
def test_label_pictures_have_the_rows_of_the_input(highest: int, mode: str, tmp_path: Path) -> None:
    label = torch.zeros(1, 5, 3)
    label[0, 4, 1] = highest
    LabelPictureSaverd("pred", tmp_path)({"pred": label, "case": "x"})
    picture = Image.open(tmp_path / "x_seg.png")
    assert picture.size == (5, 3) and picture.mode == mode and np.asarray(picture)[1, 4] == highest


def test_a_mask_of_one_number_is_numbered_and_an_instance_map_is_kept() -> None:
    mask = MetaTensor(torch.tensor([[[255, 255, 0, 0, 255], [255, 0, 0, 0, 255], [0, 0, 255, 0, 0]]]).float())
    numbered = NumberedPiecesd("label", min_size=2)({"label": mask})["label"]
    assert numbered[0].tolist() == [[1, 1, 0, 0, 2], [1, 0, 0, 0, 2], [0, 0, 0, 0, 0]]
    assert isinstance(numbered, MetaTensor)
    instances = torch.tensor([[[3.0, 3.0, 7.0]]])
    assert NumberedPiecesd("label")({"label": instances})["label"] is instances
    empty = torch.zeros(1, 2, 2)
    assert NumberedPiecesd("label")({"label": empty})["label"] is empty
