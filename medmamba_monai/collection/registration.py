"""Registration of pairs: one network input from two images, displacements in world units, what is carried along."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms.spatial.array import Resample
from monai.transforms.transform import MapTransform
from torch import Tensor, nn

from medmamba_monai.collection.drawing import Picture, beside, captioned, draw_outlines, save_picture, stacked
from medmamba_monai.collection.evaluation import SegmentationReport
from medmamba_monai.collection.reports import Columns, Metric, Packed, Row, mean_of
from medmamba_monai.collection.savers import replacing
from medmamba_monai.metrics import jacobian_determinant

__all__ = ["CarryOntoFixedd", "InWorldUnitsd", "PairSaverd", "RegistrationReport", "StackedPair"]

BEFORE = "dice_before"  # name of the evaluator's metric of the labels that were not displaced
NOT_REGISTERED = "not registered (centres aligned)"


class StackedPair(nn.Module):
    """A registration network that takes the pair as the channels of one image and gives the displacement alone.

    So the network has one input and one output, as MONAI's engines, checks and exports expect.

    Args:
        network: takes the moving and the fixed image and gives (moved image, displacement), as MONAI's VoxelMorph.

    Shape:
        image (B, 2 * C, *S), the fixed image in front of the moving one; returns (B, axes, *S) in voxels.

    Example:
        >>> from medmamba_monai.networks.nets import MambaMorph
        >>> StackedPair(MambaMorph(2, 1, dim=8, levels=2))(torch.rand(1, 2, 16, 16)).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        fixed, moving = image.chunk(2, 1)
        displacement: Tensor = self.network(moving, fixed)[1]
        return displacement


class InWorldUnitsd(MapTransform):
    """Turns a displacement in voxels into one in the units of the affines: millimetres, or a picture's own pixels.

    Its vectors then no longer depend on the grid, so that ``Invertd`` may turn and resample it. It falls to zero over
    the outer voxels of the grid, so that it stays smooth where the fixed image is larger than that.

    Args:
        keys: keys of displacements (axes, *S).
        moving: key of the moving image as the network saw it, with its affine.
        margin: voxels over which it falls.

    Example:
        >>> item = {"pred": torch.ones(2, 9, 9), "moving": MetaTensor(torch.zeros(1, 9, 9), affine=torch.eye(3) * 2)}
        >>> InWorldUnitsd("pred", margin=2)(item)["pred"][0, 4].tolist()
        [0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 0.0]
    """

    def __init__(self, keys: KeysCollection, moving: str = "moving", margin: int = 4) -> None:
        super().__init__(keys)
        self.moving, self.margin = moving, margin

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            x = torch.as_tensor(item[key]).float()
            axes = x.shape[0]
            linear = _affine(item[self.moving].affine, axes)[:axes, :axes].to(x)
            for axis, length in enumerate(x.shape[1:], start=1):
                place = torch.arange(length, dtype=x.dtype, device=x.device)
                ramp = (torch.minimum(place, length - 1 - place) / max(self.margin, 1)).clamp(max=1)
                x = x * ramp.reshape([-1 if i == axis else 1 for i in range(axes + 1)])
            # Invertd looks for what was done to a MetaTensor only
            item[key] = MetaTensor(torch.einsum("ij,j...->i...", linear, x))
        return item


class CarryOntoFixedd(MapTransform):
    """Brings what lies on the moving file's grid onto that of the fixed file.

    Args:
        keys: keys of images or label maps (C, *S) on the moving file's grid.
        names: keys of the results.
        displacement: key of the displacement (axes, *S) in world units on the fixed file's grid.
        fixed: key of the fixed image as the network saw it; its affine and that of its file are read.
        moving: key of the moving image likewise.
        mode: "bilinear" for images, "nearest" for label maps.
        still: leave the displacement out, to see how the images lay before.
    """

    def __init__(
        self,
        keys: KeysCollection,
        names: Sequence[str],
        displacement: str = "pred",
        fixed: str = "fixed",
        moving: str = "moving",
        mode: str = "bilinear",
        still: bool = False,
    ) -> None:
        super().__init__(keys)
        self.names, self.displacement, self.fixed, self.moving = tuple(names), displacement, fixed, moving
        self.mode, self.still = mode, still

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        shift = torch.as_tensor(item[self.displacement]).detach().cpu().double()
        shift = shift * 0 if self.still else shift
        places = corresponding_places(shift, item[self.fixed], item[self.moving])
        for key, name in zip(self.key_iterator(item), self.names, strict=True):
            x = torch.as_tensor(item[key]).detach().cpu()
            moved = sample_at(x.float(), places, self.mode)
            meta = dict(item[self.fixed].meta)
            item[name] = MetaTensor(moved, affine=_of_file(item[self.fixed], shift.shape[0]), meta=meta)
        return item


def corresponding_places(shift: Tensor, fixed: MetaTensor, moving: MetaTensor) -> Tensor:
    """Returns for every voxel of the fixed file its place on the moving file's grid, in voxels: (axes, *S).

    The network's two grids lie upon each other; their affines tell how the files then lie to each other.

    Args:
        shift: displacement (axes, *S) in world units on the fixed file's grid.
        fixed: the fixed image as the network saw it.
        moving: the moving image as the network saw it.
    """
    axes = shift.shape[0]
    seen = [_affine(image.affine, axes) for image in (fixed, moving)]
    files = [_of_file(image, axes) for image in (fixed, moving)]
    grid = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in shift.shape[1:]), indexing="ij"))
    world = _apply(seen[1] @ torch.linalg.inv(seen[0]) @ files[0], grid) + shift
    return _apply(torch.linalg.inv(files[1]), world)


def sample_at(x: Tensor, places: Tensor, mode: str) -> Tensor:
    """Returns the values of an image (C, *S) at places (axes, *S) given in voxels; zero outside.

    Example:
        >>> sample_at(torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None], torch.tensor([[[1.0]], [[0.0]]]), "nearest")
        tensor([[[3.]]])
    """
    # MONAI counts from the middle of the image
    middle = (torch.tensor(x.shape[1:], dtype=places.dtype) - 1) / 2
    grid = places - middle.reshape(-1, *([1] * (places.ndim - 1)))
    found: Any = Resample(mode=mode, padding_mode="zeros", align_corners=False)(x, grid)
    plain: Tensor = found.as_tensor()
    return plain


def _affine(affine: Any, axes: int) -> Tensor:
    found: Any = to_affine_nd(axes, torch.as_tensor(affine, dtype=torch.float64).cpu())
    return torch.as_tensor(found, dtype=torch.float64)


def _of_file(image: MetaTensor, axes: int) -> Tensor:
    """The affine of the file; pictures have none, and their units are pixels."""
    return _affine(image.meta.get("original_affine", np.eye(axes + 1)), axes)


def _apply(affine: Tensor, places: Tensor) -> Tensor:
    moved = torch.einsum("ij,j...->i...", affine[:-1, :-1], places)
    return moved + affine[:-1, -1].reshape(-1, *([1] * (places.ndim - 1)))


class PairSaverd(MapTransform):
    """Writes the warped image ``<case>_warped`` and the displacement ``<case>_displacement.nii.gz`` of a pair.

    Both lie on the grid of the fixed file. Volumes are NIfTI files, and their displacement is in millimetres along the
    axes right, anterior and superior, as the affine has them, with the components last; the moving image's place is
    that of the fixed one plus the displacement, after the centres of both were laid upon each other. Warped pictures
    are PNG files with 8 bits; their displacement is in pixels.

    Args:
        keys: key of the warped image, and that of the displacement.
        output_dir: folder to write to.
        fixed: key of the fixed image on its file's grid; with it ``<case>_overlay.png`` shows both and the warped one.
        before: key of the moving image on the fixed file's grid, not displaced, for that picture.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str | Path, fixed: str | None = None, before: str = "before"
    ) -> None:
        super().__init__(keys)
        self.folder, self.fixed, self.before = Path(output_dir), fixed, before

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        import nibabel as nib

        item = dict(data)
        warped, shift = (item[key] for key in self.keys)
        case, volume = item["case"], warped.ndim == 4
        affine = np.asarray(torch.as_tensor(warped.affine), np.float64) if volume else np.eye(4)
        vectors = np.asarray(torch.as_tensor(shift).cpu(), np.float32)
        files = {"displacement": np.moveaxis(vectors if volume else vectors[..., None], 0, -1)}
        if volume:
            files["warped"] = np.asarray(warped)[0].astype(np.float32)
        else:
            self._save_picture(np.asarray(warped)[0], f"{case}_warped.png")
        for what, array in files.items():
            with replacing(self.folder / f"{case}_{what}.nii.gz") as temporary:
                nib.save(nib.Nifti1Image(array, affine), temporary)
        length = np.linalg.norm(vectors, axis=0)
        print(f"{case}: displaced by {length.mean():.2f} {'mm' if volume else 'pixels'}, at most {length.max():.2f}")
        if self.fixed is not None:
            shown = {"fixed": item[self.fixed], "moving, before": item[self.before], "moving, warped": warped}
            save_picture(_side_by_side(shown), self.folder / f"{case}_overlay.png")
        return item

    def _save_picture(self, grey: np.ndarray, name: str) -> None:
        from PIL import Image

        with replacing(self.folder / name) as temporary:
            Image.fromarray(grey.T.round().clip(0, 255).astype(np.uint8)).save(temporary, format="PNG")


def _side_by_side(images: Mapping[str, Tensor]) -> Picture:
    drawn = [captioned(draw_outlines(x, {"": torch.zeros_like(x)}), text) for text, x in images.items()]
    return stacked(drawn) if next(iter(images.values())).ndim == 4 else beside(drawn)


class RegistrationReport(SegmentationReport):
    """Adds to the overlap of the labels how much of the displacement folds, in percent of the voxels.

    The evaluator's output items hold ``moved`` and ``label`` (one channel a class), ``before`` (likewise) and ``pred``,
    the displacement in world units on the fixed file's grid; its items hold ``fixed``.

    Args:
        output_dir: folder to write to.
        classes: names of the classes, background excluded.
        unit: what the item's ``group`` is, for the text of the interval.
    """

    before: list[Packed]

    def _begin(self, engine: Engine) -> None:
        super()._begin(engine)
        self.before = []

    def _row(self, item: Row, output: Row) -> Row:
        found, before, label = (output[key].argmax(0, keepdim=True) for key in ("moved", "before", "label"))
        self._keep({**item, "image": item["fixed"]}, found, label)
        self.before.append(Packed(before))
        shift = torch.as_tensor(output["pred"]).cpu().double()
        axes = shift.shape[0]
        linear = _of_file(item["fixed"], axes)[:axes, :axes]
        voxels = torch.einsum("ij,j...->i...", torch.linalg.inv(linear), shift)
        return {"folding_percent": float((jacobian_determinant(voxels[None]) <= 0).double().mean() * 100)}

    def _metrics(self) -> dict[str, Metric]:
        found = {name: metric for name, metric in super()._metrics().items() if not name.startswith(BEFORE)}
        return found | {"folding_percent": mean_of(["folding_percent"])}

    def _beside(self, columns: Columns) -> dict[str, Any]:
        found = {n.replace(BEFORE, "dice"): m for n, m in super()._metrics().items() if n.startswith(BEFORE)}
        return {"beside": {NOT_REGISTERED: {"metrics": self._intervals(found, columns)}}}

    def _labels(self, number: int) -> dict[str, Tensor]:
        found = super()._labels(number)
        return {"before": self.before[number].unpacked(), "after": found["prediction"], "reference": found["reference"]}
