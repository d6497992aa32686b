"""Registration of pairs: geometry of displacements, the loss, the report, what is written, and the lists of pairs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    ResizeWithPadOrCropd,
    Spacingd,
)
from PIL import Image

from medmamba_monai.collection.checks import InputError, check_items
from medmamba_monai.collection.datasets.pairs import hippocampus_pairs, input_pairs, left_ventricle_pairs, pairs_between
from medmamba_monai.collection.registration import (
    CarryOntoFixedd,
    InWorldUnitsd,
    PairSaverd,
    RegistrationReport,
    StackedPair,
)
from medmamba_monai.losses import RegistrationLoss

SPLIT = {"train": ["c_001", "c_003"], "val": ["c_005"], "test": ["c_007"]}


def volume(file: Path, size: tuple[int, ...], box: tuple[slice, ...], affine: Any) -> str:
    array = np.zeros(size, np.float32)
    array[box] = 1
    nib.save(nib.Nifti1Image(array, np.asarray(affine, float)), file)
    return str(file)


def test_the_displacement_survives_orientation_spacing_and_padding(tmp_path: Path) -> None:
    box = (slice(6, 12), slice(6, 12), slice(6, 12))
    # in the grid of the network the moving box lies two voxels, that is 4 mm, further along the first axis
    shifted = (slice(10, 16), *box[1:])
    flip = np.array([[-1.0, 0, 0, 50], [0, -1, 0, -20], [0, 0, 1, 7], [0, 0, 0, 1]])
    turned = (*(slice(18 - b.stop, 18 - b.start) for b in box[:2]), box[2])
    files = {"fixed": volume(tmp_path / "f.nii", (18, 18, 18), turned, flip)}
    files["moving"] = volume(tmp_path / "m.nii", (18, 18, 18), shifted, np.eye(4))
    keys = ["fixed", "moving"]
    steps = Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            Orientationd(keys, axcodes="RAS", labels=None),
            Spacingd(keys, pixdim=[2.0, 2.0, 2.0], mode="nearest"),
            ResizeWithPadOrCropd(keys, [12, 12, 12]),
        ]
    )
    item: Any = steps(files)
    item["pred"] = torch.zeros(3, 12, 12, 12)
    item["pred"][0] = 2
    item["file"] = MetaTensor(torch.from_numpy(nib.load(files["moving"]).get_fdata()[None]).float())
    item = InWorldUnitsd("pred", margin=1)(item)
    item = Invertd("pred", steps, orig_keys="fixed", nearest_interp=False)(item)
    item = CarryOntoFixedd("file", names=["warped"], mode="nearest")(item)
    item = CarryOntoFixedd("file", names=["before"], mode="nearest", still=True)(item)
    reference = torch.from_numpy(nib.load(files["fixed"]).get_fdata()[None]).float()

    def dice(x: torch.Tensor) -> float:
        return float(2 * (x * reference).sum() / (x + reference).sum())

    assert item["warped"].shape == reference.shape
    assert dice(item["warped"]) > 0.9 > 0.5 > dice(item["before"])
    assert torch.allclose(torch.as_tensor(item["warped"].affine), torch.as_tensor(flip))


def test_one_input_of_two_images() -> None:
    def network(moving: torch.Tensor, fixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return moving, torch.cat((moving, fixed), 1)

    module = torch.nn.Module()
    module.forward = network  # type: ignore[method-assign]
    image = torch.rand(1, 2, 4, 4)
    assert torch.equal(StackedPair(module)(image), image.flip(1))


def test_the_loss_of_a_shift_is_lowest_at_the_shift() -> None:
    fixed = torch.zeros(1, 1, 16, 16)
    fixed[..., 5:9, 5:9] = 1
    moving = fixed.roll(2, 2)
    target = torch.cat((fixed, moving, fixed, moving), 1)
    for overlap in (0.0, 1.0):
        loss = RegistrationLoss(torch.nn.MSELoss(), smoothness=0.1, overlap=overlap)
        shifts = [torch.zeros(1, 2, 16, 16) for _ in range(4)]
        for length, shift in enumerate(shifts):
            shift[:, 0] = length
        values = [float(loss(shift, target)) for shift in shifts]
        assert min(values) == values[2] < 0.01
        rough = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
        assert float(loss(rough, target)) > values[2]
    with pytest.raises(ValueError, match="target has 2 channels: give 4"):
        loss(rough, target[:, :2])


def test_the_report_gives_the_overlap_before_beside_that_after(tmp_path: Path) -> None:
    report = RegistrationReport(tmp_path, ["part"], "persons")
    image = MetaTensor(torch.rand(1, 8, 8), affine=torch.eye(3), meta={"original_affine": np.eye(3)})
    label = torch.zeros(2, 8, 8)
    label[1, 2:5] = 1
    shift = torch.zeros(2, 8, 8)
    shift[0, 4] = -3
    batch = [{"case": f"c{n}", "group": n, "fixed": image, "site": "ab"[n]} for n in range(2)]
    output = [{"moved": label, "before": label.roll(1, 1), "label": label, "pred": shift}] * 2
    details = {"dice": torch.tensor([[0.9], [0.7]]), "dice_before": torch.tensor([[0.5], [0.3]])}
    dataset = [{"image": image}] * 2
    engine: Any = SimpleNamespace(
        state=SimpleNamespace(batch=batch, output=output, metric_details=details),
        data_loader=SimpleNamespace(dataset=dataset),
    )
    report._begin(engine)
    report._collect(engine)
    report._write(engine)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["metrics"]["dice_mean"]["value"] == 0.8
    assert found["metrics"]["folding_percent"]["value"] == 12.5
    assert not any("before" in name for name in found["metrics"])
    (plain,) = found["beside"].values()
    assert plain["metrics"]["dice_part"]["value"] == 0.4 and plain["metrics"]["dice_mean_a"]["value"] == 0.5
    assert (tmp_path / "pictures" / "worst.png").is_file()


@pytest.mark.parametrize("size", [(9, 7), (9, 7, 5)])
def test_what_inference_writes(size: tuple[int, ...], tmp_path: Path) -> None:
    image = MetaTensor(torch.rand(1, *size) * 255, affine=torch.eye(4))
    item = {"case": "a_to_b", "warped": image, "before": image, "fixed": image, "pred": torch.ones(len(size), *size)}
    PairSaverd(["warped", "pred"], tmp_path, fixed="fixed")(item)
    field = nib.load(tmp_path / "a_to_b_displacement.nii.gz")
    assert field.shape == (*size, *([1] if len(size) == 2 else []), len(size)) and float(field.dataobj[0, 0, 0, 0]) == 1
    if len(size) == 2:
        picture = np.asarray(Image.open(tmp_path / "a_to_b_warped.png"))
        assert np.abs(picture.T - image[0].numpy()).max() <= 0.5
    else:
        assert np.allclose(nib.load(tmp_path / "a_to_b_warped.nii.gz").get_fdata(), image[0].numpy())
    assert (tmp_path / "a_to_b_overlay.png").is_file()


def test_pairs_of_persons(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for number in range(1, 9):
            (tmp_path / part / f"c_{number:03}.nii.gz").write_bytes(b"")
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps(SPLIT))
    pairs = hippocampus_pairs(tmp_path, "train", lists, partners=3)
    # cases 1 to 4 are two persons: each has the two volumes of the other as partners
    assert len(pairs) == 8 == len({pair["case"] for pair in pairs})
    for pair in pairs:
        numbers = [int(str(pair[key])[-10:-7]) for key in ("fixed", "moving")]
        assert len({(number + 1) // 2 for number in numbers}) == 2
        assert pair["carried"] == str(pair["moving"]).replace("images", "labels")
        assert pair["case"] == f"c_{numbers[1]:03}_to_c_{numbers[0]:03}"
    assert pairs == hippocampus_pairs(tmp_path, "train", lists, partners=3)
    with pytest.raises(InputError, match="a pair needs images of two persons"):
        pairs_between([{"group": "1"}, {"group": "1"}])


def test_pairs_of_phases(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for name in ("late", "early"):
            (tmp_path / part / f"{name}.png").write_bytes(b"")
    lists = tmp_path / "lists.json"
    split = {"train": ["late", "early"], "val": [], "test": ["x"]}
    pairs = {"train": [["early", "late"], ["early", "lost"]]}
    lists.write_text(json.dumps(split | {"pairs": pairs, "sites": {"late": "s", "early": "s"}}))
    (pair,) = left_ventricle_pairs(tmp_path, "train", lists)
    assert (pair["case"], pair["site"]) == ("early_to_late", "s") and str(pair["label"]).endswith("masks/late.png")
    lists.write_text(json.dumps(split))
    with pytest.raises(InputError, match="holds no pair of the train list"):
        left_ventricle_pairs(tmp_path, "train", lists)


def test_pairs_that_inference_reads(tmp_path: Path) -> None:
    for part in ("fixed", "moving"):
        (tmp_path / part).mkdir()
        Image.new("L", (16, 16)).save(tmp_path / part / "p.png")
    one, other = tmp_path / "fixed" / "p.png", tmp_path / "moving" / "p.png"
    assert input_pairs(one, other, "")[0]["case"] == "p_to_p"
    (found,) = input_pairs("", "", tmp_path)
    assert found == {"fixed": str(one), "moving": str(other), "case": "p"}
    check_items([found], 2, keys=("fixed", "moving"))
    (tmp_path / "list.csv").write_text("fixed,moving\nfixed/p.png,moving/p.png\n")
    (listed,) = input_pairs("", "", tmp_path / "list.csv")
    assert listed["moving"] == str(other)
    with pytest.raises(InputError, match="moving '.' does not exist"):
        input_pairs(one, "", "")
    (tmp_path / "moving" / "q.png").write_bytes(b"")
    with pytest.raises(InputError, match="'q' in .* only in one of fixed/ and moving/"):
        input_pairs("", "", tmp_path)
    other.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        check_items([found], 2, keys=("fixed", "moving"))
