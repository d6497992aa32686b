"""U-Mamba as a network of nnU-Net v2: a class that its plans can name, and plans that name it.

usage: python -m medmamba_monai.apps.nnunet nnUNetPlans.json [--variant encoder]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.savers import replacing
from medmamba_monai.networks.nets.umamba import UMamba

__all__ = ["NnUNetUMamba", "main", "write_plans"]

PLANS_NAME = "nnUNetUMambaPlans"


class NnUNetUMamba(UMamba):
    """U-Mamba with the arguments that nnU-Net v2 passes and the switch that its trainer turns.

    Args:
        input_channels: channels of the image.
        num_classes: channels of the output.
        features_per_stage: channels of each stage.
        strides: stride of each stage, the first one 1.
        kernel_sizes: kernel of each stage.
        n_blocks: residual blocks of each stage.
        n_decoder_blocks: residual blocks of each decoder stage.
        deep_supervision: return the outputs of all stages; the trainer turns it off to validate whole images.
        variant: "bottleneck" or "encoder", see `medmamba_monai.networks.nets.UMamba`.

    Shape:
        x (B, input_channels, *S); returns (B, num_classes, *S), or with deep supervision a list, full size first.

    Example:
        >>> import torch
        >>> net = NnUNetUMamba(1, 2, [4, 8], [[1, 1], [2, 2]], [[3, 3], [3, 3]], deep_supervision=True)
        >>> [tuple(y.shape) for y in net(torch.zeros(1, 1, 8, 8))]
        [(1, 2, 8, 8)]
        >>> net.decoder.deep_supervision = False
        >>> net(torch.zeros(1, 1, 8, 8)).shape
        torch.Size([1, 2, 8, 8])
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernel_sizes: Sequence[Sequence[int]],
        n_blocks: int | Sequence[int] = 2,
        n_decoder_blocks: int | Sequence[int] = 2,
        deep_supervision: bool = False,
        variant: str = "bottleneck",
    ) -> None:
        super().__init__(
            spatial_dims=len(strides[0]),
            in_channels=input_channels,
            out_channels=num_classes,
            features=features_per_stage,
            strides=strides,
            kernel_sizes=kernel_sizes,
            n_blocks=n_blocks,
            n_decoder_blocks=n_decoder_blocks,
            variant=variant,
            deep_supervision=deep_supervision,
        )
        # the name under which the trainer looks for the switch
        self.decoder.deep_supervision = deep_supervision  # type: ignore[assignment]

    def returns_all(self) -> bool:
        """Whether `forward` returns the outputs of all stages, in training and in validation alike."""
        return bool(self.decoder.deep_supervision)


def write_plans(file: str | Path, **arguments: Any) -> Path:
    """Write plans beside those of nnU-Net that differ in the network alone, and return their path.

    The preprocessed data of the first plans serve both.

    Args:
        file: plans that `nnUNetv2_plan_and_preprocess` wrote.
        arguments: more arguments of `NnUNetUMamba`.

    Raises:
        InputError: when the file is missing or holds no plans of nnU-Net v2.
    """
    file = Path(file)
    try:
        plans = json.loads(file.read_text(encoding="utf-8"))
        own = [entry for entry in plans["configurations"].values() if "architecture" in entry]
        for entry in own:
            given = entry["architecture"]["arch_kwargs"]
            kept = {name: given[name] for name in ("features_per_stage", "strides", "kernel_sizes")}
            entry["architecture"] = {
                "network_class_name": f"{NnUNetUMamba.__module__}.{NnUNetUMamba.__name__}",
                "arch_kwargs": {**kept, **arguments},
                "_kw_requires_import": [],
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} cannot be read as plans of nnU-Net v2 ({type(error).__name__}: {error}): give the file "
            "nnUNetPlans.json that nnUNetv2_plan_and_preprocess wrote"
        ) from error
    plans["plans_name"] = PLANS_NAME
    target = file.with_name(f"{PLANS_NAME}.json")
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(plans, indent=4) + "\n", encoding="utf-8")
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """Write the plans and say how to train with them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai.apps.nnunet", description=__doc__)
    parser.add_argument("plans", help="nnUNetPlans.json of a data set, in nnUNet_preprocessed")
    parser.add_argument("--variant", choices=["bottleneck", "encoder"], default="bottleneck", help="where Mamba stands")
    options = parser.parse_args(argv)
    try:
        print(f"{write_plans(options.plans, variant=options.variant)}: train with -p {PLANS_NAME}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
