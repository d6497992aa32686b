"""Networks of ours beside peers of about equal size, for ``benchmark network --suite NAME``."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import nn

from medmamba_monai.networks.nets import MedMamba, SegMamba, SwinUMamba, UMamba, VMUNet

Builders = Mapping[str, Callable[[], nn.Module]]


class Suite(NamedTuple):
    """Networks that see one kind of image; the first is ours, and the base of the ratios.

    Args:
        size: side of the image.
        spatial_dims: 2 or 3.
        channels: of the image.
        ours: networks of this package.
        peers: gives the others, for a side of the image.
    """

    size: int
    spatial_dims: int
    channels: int
    ours: Builders
    peers: Callable[[int], Builders]

    def networks(self, size: int) -> dict[str, Callable[[], nn.Module]]:
        """All networks, ours first."""
        return {**self.ours, **self.peers(size)}


def _classifiers(size: int) -> Builders:
    from monai.networks.nets import DenseNet121, resnet50

    found: dict[str, Callable[[], nn.Module]] = {
        "MONAI DenseNet121": lambda: DenseNet121(2, 3, 1000),
        "MONAI ResNet50": lambda: resnet50(spatial_dims=2, n_input_channels=3, num_classes=1000),
    }
    if importlib.util.find_spec("timm") and importlib.util.find_spec("torchvision"):
        import timm

        for name in ("resnet50", "convnext_tiny", "swin_tiny_patch4_window7_224"):
            if size == 224 or "swin" not in name:
                found[f"timm {name}"] = functools.partial(timm.create_model, name)
    return found


def _segmenters(
    spatial_dims: int, channels: int, classes: int, unet: int, segresnet: int, swin: int | None = None
) -> Callable[[int], Builders]:
    """MONAI's UNet, SegResNet and SwinUNETR with so many features in their first stage."""

    def peers(_: int) -> Builders:
        from monai.networks.nets import SegResNet, SwinUNETR, UNet

        features = tuple(unet * 2**level for level in range(5))
        found: dict[str, Callable[[], nn.Module]] = {}
        if swin is not None:
            found["MONAI SwinUNETR"] = lambda: SwinUNETR(
                in_channels=channels, out_channels=classes, feature_size=swin, spatial_dims=spatial_dims
            )
        found["MONAI UNet"] = lambda: UNet(spatial_dims, channels, classes, features, (2, 2, 2, 2), num_res_units=2)
        blocks = (1, 2, 2, 4)
        found["MONAI SegResNet"] = lambda: SegResNet(spatial_dims, segresnet, channels, classes, blocks_down=blocks)
        return found

    return peers


def _medmamba(name: str) -> Callable[[], nn.Module]:
    return lambda: MedMamba.from_variant(name)


def _umamba_3d() -> nn.Module:
    return UMamba(3, 1, 14, features=[32, 64, 128, 256, 320], variant="bottleneck")


SUITES: Mapping[str, Suite] = {
    "medmamba": Suite(
        224, 2, 3, {f"MedMamba {name}": _medmamba(name) for name in ("tiny", "small", "base")}, _classifiers
    ),
    "umamba": Suite(
        224,
        2,
        1,
        {"UMamba bottleneck 2D": lambda: UMamba.from_variant("bottleneck_2d_abdomen")},
        _segmenters(2, 1, 14, unet=32, segresnet=64),
    ),
    "vmunet": Suite(
        256,
        2,
        3,
        {"VM-UNet": lambda: VMUNet.from_variant("isic")},
        _segmenters(2, 3, 1, unet=64, segresnet=64, swin=48),
    ),
    "swinumamba": Suite(
        320,
        2,
        3,
        {"Swin-UMamba": lambda: SwinUMamba(2, 3, 14)},
        _segmenters(2, 3, 14, unet=96, segresnet=96, swin=72),
    ),
    "volumes": Suite(
        64,
        3,
        1,
        {"UMamba bottleneck 3D": _umamba_3d, "SegMamba": lambda: SegMamba(3, 1, 14)},
        _segmenters(3, 1, 14, unet=32, segresnet=32, swin=48),
    ),
}
