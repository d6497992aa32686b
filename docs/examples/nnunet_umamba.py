"""U-Mamba inside nnU-Net v2: plan, train one epoch and predict, on a made-up set of small volumes.

usage: python docs/examples/nnunet_umamba.py FOLDER     in an environment with nnunetv2 and medmamba_monai
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else "nnunet").resolve()
NAME = "Dataset001_Boxes"
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = str(ROOT / variable)
os.environ.update(nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1", nnUNet_compile="f")


def make_set(cases: int = 5) -> None:
    """Noise with one brighter box."""
    rng = np.random.default_rng(0)
    raw = ROOT / "nnUNet_raw" / NAME
    for number in range(cases):
        label = np.zeros((40, 36, 6), np.uint8)
        label[8 + number : 24 + number, 10:26, 1:5] = 1
        image = (rng.normal(size=label.shape) + 4 * label).astype(np.float32)
        for folder, array, suffix in (("imagesTr", image, "_0000"), ("labelsTr", label, "")):
            (raw / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1, 4, 1])), raw / folder / f"box_{number}{suffix}.nii.gz")
    (raw / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "MRI"},
                "labels": {"background": 0, "box": 1},
                "numTraining": cases,
                "file_ending": ".nii.gz",
            }
        )
    )


def main() -> None:
    """What nnUNetv2_plan_and_preprocess, nnUNetv2_train and nnUNetv2_predict do, in one process."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.run.run_training import get_trainer_from_args

    from medmamba_monai.apps.nnunet import write_plans

    make_set()
    extract_fingerprints([1], num_processes=1)
    plan_experiments([1])
    preprocess([1], configurations=["2d"], num_processes=[1])
    plans = write_plans(ROOT / "nnUNet_preprocessed" / NAME / "nnUNetPlans.json")

    os.environ["nnUNet_n_proc_DA"] = "0"  # the planner needs one process, a short training none beside itself
    trainer = get_trainer_from_args(NAME, "2d", 0, "nnUNetTrainer_1epoch", plans.stem, device=torch.device("cpu"))
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 1  # a demonstration
    trainer.run_training()
    print("network:", type(trainer.network).__name__, flush=True)

    predictor = nnUNetPredictor(tile_step_size=1, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,), "checkpoint_final.pth")
    predicted = ROOT / "predicted"
    predicted.mkdir(exist_ok=True)
    images = ROOT / "nnUNet_raw" / NAME / "imagesTr"
    predictor.predict_from_files_sequential([[str(images / "box_0_0000.nii.gz")]], [str(predicted / "box_0.nii.gz")])
    print("predicted:", nib.load(predicted / "box_0.nii.gz").shape)


if __name__ == "__main__":
    main()
