"""U-Mamba's nnU-Net folders as bundles and back: the real nnunetv2's preprocessing, the authors' names of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import MetaTensor
from monai.transforms import Invertd

from medmamba_monai import weights
from medmamba_monai.__main__ import main
from medmamba_monai.autoconfig.cases import DataFault
from medmamba_monai.autoconfig.nnunet_plans import plan_from_nnunet, plan_to_nnunet
from medmamba_monai.networks.nets import UMamba
from medmamba_monai.weights.umamba_names import umamba_names

HERE = Path(__file__).parents[2]
STORED = json.loads((HERE / "autoconfig" / "nnunet_small.json").read_text(encoding="utf-8"))
ARRAYS = np.load(HERE / "autoconfig" / "nnunet_small.npz")
PLANS, DATASET = STORED["plans"], STORED["dataset"]


def network(plan: dict[str, Any]) -> UMamba:
    return ConfigParser({"network_def": plan["network_def"]}).get_parsed_content("network_def")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result folder with two folds, weights under the authors' names."""
    folder = tmp_path_factory.mktemp("results") / "nnUNetTrainerUMambaBot__nnUNetPlans__3d_fullres"
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(PLANS))
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    plan = plan_from_nnunet(PLANS, DATASET, "3d_fullres", "nnUNetTrainerUMambaBot")
    for fold in range(2):
        torch.manual_seed(fold)
        (folder / f"fold_{fold}").mkdir()
        content = {
            "network_weights": umamba_names(network(plan).state_dict(), "bottleneck"),
            "trainer_name": "nnUNetTrainerUMambaBot",
            "init_args": {"configuration": "3d_fullres", "fold": fold, "device": torch.device("cpu")},
            "inference_allowed_mirroring_axes": (0, 1),
            "_best_ema": np.float64(0.5),
        }
        torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


@pytest.fixture(scope="module")
def bundle(results: Path) -> Path:
    root = results.parent / "umamba_small_segmentation"
    assert main(["convert", str(results), "--output", str(root)]) == 0
    return root


def images(folder: Path) -> list[str]:
    files = []
    for channel in range(2):
        files.append(str(folder / f"h_{channel:04}.nii.gz"))
        nib.save(nib.Nifti1Image(ARRAYS[f"small_image{channel}"], ARRAYS["small_affine"]), files[-1])
    return files


def parsed(root: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser["bundle_root"] = str(root)
    return parser


def test_preprocessing_and_its_way_back_are_those_of_nnunet(bundle: Path, tmp_path: Path) -> None:
    steps = parsed(bundle).get_parsed_content("preprocessing")
    item = steps({"image": images(tmp_path)})
    np.testing.assert_allclose(item["image"].numpy(), ARRAYS["small_data"], atol=2e-5)
    item["pred"] = MetaTensor(torch.as_tensor(ARRAYS["small_logits"]))
    back = Invertd("pred", steps, orig_keys="image", nearest_interp=False)(item)["pred"]
    # nnU-Net's arrays run z, y, x
    np.testing.assert_array_equal(back.argmax(0).numpy().transpose(2, 1, 0), ARRAYS["small_seg"])


def test_converted_weights_predict(bundle: Path, tmp_path: Path) -> None:
    image = images(tmp_path)[0]
    for names in (["inference"], ["inference", "ensemble"]):
        flow = ConfigWorkflow(
            config_file=[str(bundle / "configs" / f"{name}.json") for name in names],
            meta_file=str(bundle / "configs" / "metadata.json"),
            logging_file=None,
            workflow_type="inference",
            bundle_root=str(bundle),
            image=image,
            output_dir=str(tmp_path / names[-1]),
        )
        flow.initialize()
        assert flow.check_properties() == []
        flow.run()
        found = nib.load(tmp_path / names[-1] / "h_0000_seg.nii.gz")
        assert found.shape == (14, 18, 7) and np.allclose(found.affine, ARRAYS["small_affine"])
    assert parsed(bundle)["mirror_axes"] == [0, 1]


def test_there_and_back_is_the_same_folder(bundle: Path, results: Path, tmp_path: Path) -> None:
    target = tmp_path / "nnUNetTrainerUMambaBot__nnUNetPlans__3d_fullres"
    assert main(["convert", str(bundle), "--output", str(target)]) == 0
    for name in ("plans.json", "dataset.json"):
        assert (target / name).read_bytes() == (results / name).read_bytes()
    for fold in ("fold_0", "fold_1"):
        ours, theirs = (weights.read(place / fold / "checkpoint_final.pth") for place in (target, results))
        assert ours["trainer_name"] == theirs["trainer_name"]
        assert ours["inference_allowed_mirroring_axes"] == (0, 1)
        assert ours["init_args"]["configuration"] == "3d_fullres"
        assert set(ours["network_weights"]) == set(theirs["network_weights"])
        assert all(torch.equal(value, theirs["network_weights"][key]) for key, value in ours["network_weights"].items())


@pytest.mark.parametrize("name", ["umamba_bot_2d", "umamba_bot_3d", "umamba_enc_2d", "umamba_enc_3d"])
def test_names_are_all_those_of_the_authors(name: str) -> None:
    from tests.oracles import adapters
    from tests.oracles.oracle import Oracle

    oracle = Oracle(HERE / "oracles" / f"{name}.json")
    net = adapters.build(name, oracle.meta["ctor"])
    theirs = oracle.state_dict()
    net.load_state_dict(weights.convert(theirs, net))
    ours = umamba_names(net.state_dict(), "encoder" if "enc" in name else "bottleneck")
    assert set(ours) == set(theirs)
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_plans_of_both_forms_give_one_network() -> None:
    old = plan_from_nnunet(PLANS, DATASET, "3d_fullres", "nnUNetTrainerUMambaEncNoAMP")
    values = PLANS["configurations"]["3d_fullres"]
    kwargs = {"features_per_stage": [8, 16, 32], "strides": values["pool_op_kernel_sizes"]}
    kwargs |= {"kernel_sizes": values["conv_kernel_sizes"], "n_conv_per_stage": [2, 2, 2]}
    kwargs |= {"n_conv_per_stage_decoder": [2, 2]}
    new_values = {key: value for key, value in values.items() if "UNet" not in key and "kernel" not in key}
    new_values["architecture"] = {"arch_kwargs": kwargs}
    new = plan_from_nnunet({**PLANS, "configurations": {"3d_fullres": new_values}}, DATASET, "3d_fullres", "UMambaEnc")
    assert new == {**old, "because": new["because"]}
    assert old["network_def"]["channel_tokens"] and old["network_def"]["img_size"] == [8, 16, 16]


def test_a_planned_bundle_goes_to_nnunet() -> None:
    plan = plan_from_nnunet(PLANS, DATASET, "3d_fullres", "UMambaBot")
    del plan["dataset"]["axes"]  # as planned: turned to RAS, axes x, y, z
    plans, dataset, configuration, trainer = plan_to_nnunet(plan)
    assert plans["transpose_forward"] == [2, 1, 0] and plans["image_reader_writer"] == "NibabelIOWithReorient"
    again = plan_from_nnunet(plans, dataset, configuration, trainer)
    assert again["dataset"]["axes"] == {"reorient": True, "order": [0, 1, 2]}
    assert (again["network_def"], again["configuration"]) == (plan["network_def"], plan["configuration"])
    plan["network_def"]["design"] = "paper"
    with pytest.raises(DataFault, match="differs from that of U-Mamba's public code in design: plan with --network"):
        plan_to_nnunet(plan)
    with pytest.raises(DataFault, match="the resolution is 'cascade'"):
        plan_to_nnunet({**plan, "resolution": "cascade"})


def test_what_cannot_be_converted(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change, told in (
        ({"name": "2d"}, "configuration '2d' of plans.json cannot be converted"),
        ({"trainer": "nnUNetTrainer"}, "trained no U-Mamba"),
        ({"dataset": {**DATASET, "labels": {"background": 0, "all": [1, 2]}}}, "regions or an ignore label"),
    ):
        asked = {"plans": PLANS, "dataset": DATASET, "name": "3d_fullres", "trainer": "UMambaBot"} | change
        with pytest.raises(DataFault, match=told):
            plan_from_nnunet(**asked)
    for source, told in ((tmp_path, "neither a result folder"), (results, "holds no fold_0/nothing.pth")):
        arguments = ["convert", str(source), "--output", str(tmp_path / "new"), "--checkpoint", "nothing.pth"]
        assert main(arguments) == 1 and told in capsys.readouterr().err
