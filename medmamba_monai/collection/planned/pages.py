"""What a planned bundle holds beside its configs: metadata, its page, licences, logging."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping
from typing import Any

from medmamba_monai import __version__
from medmamba_monai.collection.planned.parts import LOW
from medmamba_monai.collection.planned.steps import cascaded

__all__ = ["DATA_LICENSE", "LICENSE", "LOGGING", "metadata", "page"]

Record = dict[str, Any]
SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
PACKAGES = ("pytorch-ignite", "nibabel", "itk", "pillow", "scipy", "tensorboard", "tqdm")
UMAMBA = (
    "Ma J, Li F, Wang B. U-Mamba: Enhancing Long-range Dependency for Biomedical Image Segmentation. "
    "arXiv:2401.04722, 2024."
)
NNUNET = (
    "Isensee F et al. nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation. "
    "Nature Methods 18:203-211, 2021."
)
LICENSE = """The configuration files of this bundle were written by medmamba_monai and are licensed under the Apache
License, Version 2.0, http://www.apache.org/licenses/LICENSE-2.0. They come without warranties of any kind.
The weights in models/ were trained by whoever ran the training; docs/data_license.txt says on what data.
"""
DATA_LICENSE = """Training data: {name}

Licence: not stated. Write here whose data these are, and under which terms the weights may be passed on.
"""
LOGGING = """[loggers]
keys=root

[handlers]
keys=consoleHandler

[formatters]
keys=fullFormatter

[logger_root]
level=INFO
handlers=consoleHandler

[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=fullFormatter
args=(sys.stdout,)

[formatter_fullFormatter]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""


def metadata(plan: Mapping[str, Any]) -> Record:
    """``configs/metadata.json``.

    Args:
        plan: the plan.
    """
    data = plan["dataset"]
    names, channels = list(data["labels"]), _channels(plan)
    title = data["name"].replace("_", " ")
    target = plan["network_def"]["_target_"].rpartition(".")[2]
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "planned"},
        "monai_version": _version("monai"),
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "required_packages_version": {
            "medmamba_monai": __version__,
            **{name: _version(name) for name in PACKAGES if _installed(name)},
        },
        "name": f"{title} segmentation with {target}",
        "task": f"Segmentation of {', '.join(name for name in names if name != 'background')} in {title}",
        "description": f"{target}, planned for {title} by the rules of nnU-Net.",
        "authors": "whoever planned and trained this bundle",
        "copyright": "whoever planned and trained this bundle",
        "data_source": title,
        "data_type": "pictures" if data["pictures"] else "nibabel",
        "image_classes": f"{len(data['channels'])} channel(s): {', '.join(data['channels'])}",
        "label_classes": "one channel: " + ", ".join(f"{number} {name}" for name, number in data["labels"].items()),
        "pred_classes": f"{len(names)} channels: {', '.join(names)}",
        "eval_metrics": {},
        "intended_use": "Research only. Not a medical device.",
        "references": [UMAMBA, NNUNET] if target == "UMamba" else [NNUNET],
        "network_data_format": {
            "inputs": {"image": _tensor(plan, "magnitude", channels, [-5, 5])},
            "outputs": {"pred": _tensor(plan, "segmentation", names, [0, 1])},
        },
    }


def _channels(plan: Mapping[str, Any]) -> list[str]:
    """What the network reads: the channels of the image, and of a cascade the classes of the first stage."""
    data = plan["dataset"]
    found = [f"{name} (first stage)" for name in data["labels"] if name != "background"] if cascaded(plan) else []
    return [*data["channels"], *found]


def _tensor(plan: Mapping[str, Any], kind: str, names: list[str], values: list[int]) -> Record:
    image = {"type": "image", "format": kind}
    if kind == "magnitude":
        image["modality"] = ", ".join(plan["dataset"]["channels"])
    return {
        **image,
        "num_channels": len(names),
        "spatial_shape": _shape(plan),
        "dtype": "float32",
        "value_range": values,
        "is_patch_data": True,
        "channel_def": {str(number): name for number, name in enumerate(names)},
    }


def _shape(plan: Mapping[str, Any]) -> list[str]:
    """Sizes that the network takes whole; twice the strides, since a norm needs more than one voxel."""
    least = {"lightm_unet": 8, "swin_umamba": 32, "monai_segresnet": 8}.get(plan["network"], 1)
    strides = plan["configuration"]["strides"]
    total = [math.prod(row[axis] for row in strides) for axis in range(len(strides[0]))]
    return [f"{2 * max(least, count)}*n" for count in total]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _version(name: str) -> str:
    return importlib.metadata.version(name).partition("+")[0]


def page(plan: Mapping[str, Any], name: str) -> str:
    """``docs/README.md``, in the order of the zoo's pages.

    Args:
        plan: the plan.
        name: name of the bundle.
    """
    data, target = plan["dataset"], plan["network_def"]["_target_"].rpartition(".")[2]
    parts = {
        "Overview": f"{target} for {data['name']}, planned from the data by the rules of nnU-Net. Results of each "
        "trained fold stand in `report.md`. Research only. This is not a medical device; do not use it for diagnosis.",
        "Data": _data_part(plan),
        "Training": _training_part(plan),
        "Input": _input_part(plan),
        "Output": f"{len(data['labels'])} channels: {', '.join(data['labels'])}. Inference writes a label map on the "
        "grid of the input.",
        "Performance": "See `report.md`, which `python -m medmamba_monai train` writes.",
        "Commands": f"{_commands(plan)}\n\nThis bundle was planned as `{name}`.",
        "License": "See `LICENSE` and `docs/data_license.txt`.",
    }
    return "\n\n".join(f"# {title}\n\n{text}" for title, text in parts.items()) + "\n"


def _data_part(plan: Mapping[str, Any]) -> str:
    data = plan["dataset"]
    classes = ", ".join(f"{number} {label}" for label, number in data["labels"].items())
    sizes = [
        f"- {label}: in {part['cases']} cases, {part['share']:.3%} of their voxels"
        for label, part in data["class_sizes"].items()
    ]
    cases = f"{data['training_cases']} cases for training and validation in {data['groups']} groups"
    folds = f"{plan['training']['folds']} folds; the cases of a group are never parted (lists in `configs/splits.json`)"
    return "\n\n".join(
        [
            f"{cases}, {data['test_cases']} test cases. Classes: {classes}.",
            "\n".join(sizes),
            f"{folds}. Licence: `data_license.txt`.",
        ]
    )


def _training_part(plan: Mapping[str, Any]) -> str:
    training = plan["training"]
    told = [
        *plan["because"],
        f"Dice and cross entropy with deep supervision, SGD with momentum {training['momentum']} and a polynomial "
        f"schedule from {training['learning_rate']}; weights averaged (EMA 0.01); the epoch with the best mean Dice on "
        "the fold's validation list is kept. A third of the patches lie around a class.",
        "Every value stands in `configs/plan.json`.",
    ]
    return "\n".join(f"- {sentence}" for sentence in told)


def _input_part(plan: Mapping[str, Any]) -> str:
    channels, values = plan["dataset"]["channels"], plan["configuration"]
    text = f"{len(channels)} channel(s): {', '.join(channels)}. Resampled to {values['spacing']} with splines of order "
    text += f"{values['image_order']}."
    if cascaded(plan):
        coarse = plan["low_resolution"]["configuration"]["spacing"]
        text += f" A first network reads the image at {coarse}; its classes are further channels of the second."
    return text


def _commands(plan: Mapping[str, Any]) -> str:
    first = f" `configs/{LOW}` holds those of the first stage, of which all folds come first." if cascaded(plan) else ""
    return f"""`BUNDLE` is this folder, `DATA` the data set.

```
python -m medmamba_monai train BUNDLE --fold 0
{_run(["inference"], "--image IMAGE --output_dir OUT")}
```

All trained folds together:

```
{_run(["inference", "ensemble"], "--image IMAGE --output_dir OUT")}
```

Training and evaluation with MONAI's own command; `--fold 1` takes another fold.{first}

```
{_run(["train"], "--dataset_dir DATA")}
{_run(["train", "evaluate"], "--dataset_dir DATA --output_dir OUT")}
{_run(["train", "multi_gpu_train"], "--dataset_dir DATA", "torchrun --standalone --nproc_per_node=2")}
```"""


def _run(names: list[str], rest: str, program: str = "python") -> str:
    files = [f"BUNDLE/configs/{name}.json" for name in names]
    listed = files[0] if len(files) == 1 else '"[' + ",".join(f"'{file}'" for file in files) + ']"'
    return f"{program} -m monai.bundle run --config_file {listed} --bundle_root BUNDLE {rest}"
