"""Asks the planner of the real nnunetv2 and stores its answers; needs an environment with nnunetv2, the tests do not.

Usage: ``python tests/autoconfig/ask_nnunet.py`` (nnunetv2 2.8.1 wrote ``nnunet_answers.json``).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import tempfile
from pathlib import Path
from typing import Any

ANSWERS = Path(__file__).with_name("nnunet_answers.json")


def spread(middle: list[float], share: float, cases: int, step: float = 0.0) -> list[list[float]]:
    """Values around a middle one, the same at every call: one list a case, rounded down to whole steps."""
    rows = []
    for case in range(cases):
        offset = share * (2 * case / (cases - 1) - 1)
        rows.append([value * (1 + offset * (1 if axis % 2 else 0.6)) for axis, value in enumerate(middle)])
    return [[float(int(v / step) * step) if step else round(v, 4) for v in row] for row in rows]


# name -> axes in nnU-Net's order (depth, rows, columns), channels, classes with background, gigabytes
QUESTIONS: dict[str, dict[str, Any]] = {
    "microscopy_2d": {"spacing": [999.0, 1.0, 1.0], "shape": [1, 520, 704], "cases": 60, "vary": (0.0, 0.3)},
    "endoscopy_2d": {"spacing": [999.0, 1.0, 1.0], "shape": [1, 352, 352], "cases": 100, "vary": (0.0, 0.0)},
    "tiny_2d": {"spacing": [999.0, 1.0, 1.0], "shape": [1, 60, 44], "cases": 5, "vary": (0.0, 0.0)},
    "hippocampus": {"spacing": [1.0, 1.0, 1.0], "shape": [36, 50, 35], "cases": 260, "vary": (0.0, 0.15)},
    "brain_four_channels": {"spacing": [1.0, 1.0, 1.0], "shape": [138, 169, 138], "cases": 484, "vary": (0.0, 0.08)},
    "heart_anisotropic": {"spacing": [9.0, 1.56, 1.56], "shape": [9, 237, 208], "cases": 200, "vary": (0.2, 0.2)},
    "prostate_anisotropic": {"spacing": [3.6, 0.61, 0.61], "shape": [20, 320, 319], "cases": 32, "vary": (0.1, 0.1)},
    "liver_large": {"spacing": [1.0, 0.77, 0.77], "shape": [432, 512, 512], "cases": 131, "vary": (0.2, 0.1)},
    "lung_thick_large": {"spacing": [5.0, 0.8, 0.8], "shape": [90, 512, 512], "cases": 40, "vary": (0.3, 0.1)},
    "sagittal": {"spacing": [0.7, 0.7, 3.3], "shape": [448, 448, 24], "cases": 50, "vary": (0.1, 0.1)},
    "tiny": {"spacing": [2.0, 2.0, 2.0], "shape": [18, 20, 16], "cases": 5, "vary": (0.0, 0.1)},
    "large_24gb": {"spacing": [1.5, 0.8, 0.8], "shape": [250, 512, 512], "cases": 60, "vary": (0.1, 0.1), "gb": 24},
    "isotropic_4gb": {"spacing": [1.0, 1.0, 1.0], "shape": [160, 192, 160], "cases": 40, "vary": (0.05, 0.1), "gb": 4},
}
CHANNELS = {"microscopy_2d": 3, "endoscopy_2d": 3, "brain_four_channels": 4}
CLASSES = {"microscopy_2d": 3, "hippocampus": 3, "brain_four_channels": 4, "heart_anisotropic": 4, "liver_large": 14}


def question(name: str) -> dict[str, Any]:
    """The fingerprint of a made-up data set."""
    asked = QUESTIONS[name]
    vary_spacing, vary_shape = asked["vary"]
    spacings = spread(asked["spacing"], vary_spacing, asked["cases"])
    if asked["spacing"][0] == 999:
        spacings = [asked["spacing"]] * asked["cases"]
    shapes = [[max(1, int(n)) for n in row] for row in spread(asked["shape"], vary_shape, asked["cases"], 1.0)]
    return {
        "spacings": spacings,
        "shapes": shapes,
        "channels": CHANNELS.get(name, 1),
        "classes": CLASSES.get(name, 2),
        "memory_gb": asked.get("gb", 8),
    }


def answer(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What nnU-Net's default planner makes of a fingerprint."""
    import nibabel as nib
    import numpy as np
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    raw, made = (folder / part / "Dataset001_Asked" for part in ("raw", "preprocessed"))
    for place in (raw / "imagesTr", raw / "labelsTr", made):
        place.mkdir(parents=True)
    for case in range(len(asked["shapes"])):
        volume = nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
        for channel in range(asked["channels"]):
            nib.save(volume, raw / "imagesTr" / f"case{case:04}_{channel:04}.nii.gz")
        nib.save(volume, raw / "labelsTr" / f"case{case:04}.nii.gz")
    about = {
        "channel_names": {str(c): f"channel{c}" for c in range(asked["channels"])},
        "labels": {"background": 0, **{f"class{c}": c for c in range(1, asked["classes"])}},
        "numTraining": len(asked["shapes"]),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(about))
    found = {
        "spacings": asked["spacings"],
        "shapes_after_crop": asked["shapes"],
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {},
    }
    (made / "dataset_fingerprint.json").write_text(json.dumps(found))
    plans = ExperimentPlanner("Dataset001_Asked", asked["memory_gb"]).plan_experiment()
    answers = {"transpose_forward": plans["transpose_forward"]}
    for name, plan in plans["configurations"].items():
        if "patch_size" in plan:
            network = plan["architecture"]["arch_kwargs"]
            answers[name] = {key: plan[key] for key in ("spacing", "patch_size", "batch_size", "batch_dice")}
            answers[name]["median_shape"] = plan["median_image_size_in_voxels"]
            answers[name] |= {"features": network["features_per_stage"], "strides": network["strides"]}
            answers[name]["kernel_sizes"] = network["kernel_sizes"]
    return json.loads(json.dumps(answers, default=lambda value: value.tolist()))


def main() -> None:
    """Writes ``nnunet_answers.json`` beside this file."""
    stored: dict[str, Any] = {
        "nnunetv2": importlib.metadata.version("nnunetv2"),
        "command": "python tests/autoconfig/ask_nnunet.py",
        "planner": "ExperimentPlanner",
        "answers": {},
    }
    for name in QUESTIONS:
        asked = question(name)
        with tempfile.TemporaryDirectory() as folder:
            from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner as planner

            planner.nnUNet_raw, planner.nnUNet_preprocessed = f"{folder}/raw", f"{folder}/preprocessed"
            from nnunetv2.utilities import dataset_name_id_conversion as names

            names.nnUNet_raw, names.nnUNet_preprocessed = planner.nnUNet_raw, planner.nnUNet_preprocessed
            stored["answers"][name] = {"question": asked, "answer": answer(asked, Path(folder))}
    ANSWERS.write_text(json.dumps(stored, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(variable, tempfile.gettempdir())
    main()
