"""``python -m medmamba_monai sample hippocampus``: the hippocampi of a real head, or of your own T1 image.

Cuts both hippocampi out of a whole head, segments them with the hippocampus bundle through ``monai.bundle run``,
and writes label maps on the crops' and on the head's grid, a picture and the volumes. Without --image it takes the
MNI152 T1 head that the nilearn package carries; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmamba_monai.collection.checks import InputError, check_image, check_output_dir
from medmamba_monai.collection.locate import SIDES, Point, find_hippocampi
from medmamba_monai.extras import missing_sentence

BUNDLE = "umamba_hippocampus_mr_segmentation"
CROP = (36.0, 50.0, 36.0)  # millimetres to the right, front and top: the framing that the network was trained on
LARGEST_CROP = 80.0  # millimetres: a smaller image is taken as one hippocampus already cut out
COARSEST = 2.0  # millimetres
CUT_OUT = "hippocampus"  # name of an image that is one hippocampus already
NEEDED = ("nibabel", "nilearn", "scipy", "fire", "ignite", "tqdm", "PIL")


@dataclass(frozen=True)
class Head:
    """A T1 image: voxels, matrix from voxels to millimetres, and where it came from."""

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    source: str

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel size along each axis in millimetres."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


def main(argv: Sequence[str]) -> int:
    """Segment, print where the results are and the volumes; return the exit code."""
    options = _parser().parse_args(argv)
    _check_packages()
    head = template() if options.image is None else read_head(options.image)
    bundle = find_bundle(options.bundle)
    boxes = _boxes(head, options)
    output = Path(options.output).expanduser().resolve()
    check_output_dir(output)
    with _all_or_nothing(output) as work:
        print(f"image     {head.source}")
        for name, box in boxes.items():
            _save(work / "crops" / f"{name}.nii.gz", head.voxels[box], _affine_of(head, box))
        run_bundle(bundle_command(bundle, work / "crops", work))
        _merge(head, boxes, work)
        _picture(head, list(boxes), work)
    print(f"results   {output}: overlay.png, whole_seg.nii.gz, and the files of each crop")
    print(f"again by  {shlex.join(bundle_command(bundle, output / 'crops', output))}\n")
    print(volume_table(output, list(boxes)))
    return 0


def template() -> Head:
    """The MNI152 T1 head inside the nilearn package, 1 mm, skull removed."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    return Head(np.asarray(image.get_fdata(), np.float32), image.affine, "MNI152 T1 template of the nilearn package")


def read_head(path: str) -> Head:
    """Read a NIfTI file.

    Raises:
        InputError: it is no readable 3D NIfTI file with finite voxels of at most 2 mm.
    """
    import nibabel

    file = Path(path).expanduser()
    if file.exists() and not file.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{file} is not a NIfTI file (.nii or .nii.gz): convert it, for example with dcm2niix")
    check_image(file, 3)
    image = nibabel.squeeze_image(nibabel.load(file))
    head = Head(np.asarray(image.get_fdata(), np.float32), image.affine, str(file))
    if head.spacing.max() > COARSEST:
        size = " x ".join(f"{step:.1f}" for step in head.spacing)
        raise InputError(f"{file} has voxels of {size} mm, but at most {COARSEST} mm is needed: give a 3D T1 scan")
    if float(head.voxels.min()) == float(head.voxels.max()):
        raise InputError(f"{file} is constant, every voxel is {head.voxels.min():g}: give a T1 image")
    return head


def find_bundle(folder: str | None) -> Path:
    """Folder of the hippocampus bundle: the given one, or that of a clone of the repository.

    Raises:
        InputError: there is none, or its weights are missing.
    """
    clone = Path(__file__).resolve().parents[2] / "bundles" / BUNDLE
    places = [Path(folder).expanduser().resolve()] if folder else [clone, Path.cwd() / "bundles" / BUNDLE]
    found = next((place for place in places if (place / "configs" / "inference.json").is_file()), None)
    if found is None:
        raise InputError(
            f"no bundle in {places[0]} (configs/inference.json is missing): run from a clone of the repository, "
            "or give --bundle FOLDER"
        )
    if not (found / "models" / "model.pt").is_file():
        raise InputError(f"{found} has no models/model.pt: clone the repository again, or train it with train.json")
    return found


def bundle_command(bundle: Path, images: Path, output: Path) -> list[str]:
    """The command that runs a bundle's inference on a folder of images, with pictures."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(bundle)]
    command += ["--config_file", str(bundle / "configs" / "inference.json")]
    return command + ["--dataset_dir", str(images), "--output_dir", str(output), "--overlay", "true"]


def run_bundle(command: Sequence[str]) -> None:
    """Run what :func:`bundle_command` returned, silently.

    Raises:
        InputError: the run failed; the message holds its own sentence, or its last lines.
    """
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        sentence = next((line.removeprefix("error: ") for line in said if line.startswith("error: ")), None)
        raise InputError(sentence or "monai.bundle run failed; its last lines:\n" + "\n".join(said[-12:]))


def volume_table(folder: Path, names: Sequence[str]) -> str:
    """The volumes that the bundle wrote, as text in millilitres."""
    lines = [f"{'volume, ml':<14}{'anterior':>10}{'posterior':>11}{'total':>9}"]
    for name in names:
        found = json.loads((folder / f"{name}_volumes.json").read_text(encoding="utf-8"))
        lines.append(f"{name:<14}{found['anterior']:>10.2f}{found['posterior']:>11.2f}{found['total']:>9.2f}")
    return "\n".join(lines)


def crop_box(head: Head, middle: Point, name: str) -> tuple[slice, ...]:
    """Slices of the voxels that hold the crop around a place in millimetres.

    Raises:
        InputError: the crop reaches out of the image.
    """
    centre = np.linalg.inv(head.affine)[:3] @ np.array([*middle, 1.0])
    # which world axis each voxel axis follows most closely
    world = np.abs(head.affine[:3, :3] / head.spacing).argmax(0)
    count = np.round(np.array(CROP)[world] / head.spacing).astype(int)
    first = np.round(centre - (count - 1) / 2).astype(int)
    if (first < 0).any() or (first + count > np.array(head.voxels.shape)).any():
        place = ", ".join(f"{value:.0f}" for value in middle)
        raise InputError(
            f"the crop around the {name} hippocampus at ({place}) mm reaches out of the image: "
            f"it needs {CROP[0]:.0f} x {CROP[1]:.0f} x {CROP[2]:.0f} mm; give an image that holds it whole"
        )
    return tuple(slice(int(f), int(f + n)) for f, n in zip(first, count, strict=True))


def _boxes(head: Head, options: argparse.Namespace) -> dict[str, tuple[slice, ...]]:
    given = {side: tuple(getattr(options, side)) for side in SIDES if getattr(options, side) is not None}
    extent = head.spacing * head.voxels.shape
    if not given and extent.max() <= LARGEST_CROP:
        return {CUT_OUT: tuple(slice(0, n) for n in head.voxels.shape)}
    if not given:
        reference = template()
        given = dict(find_hippocampi(head.voxels, head.affine, reference.voxels, reference.affine))
    return {side: crop_box(head, middle, side) for side, middle in given.items()}


def _affine_of(head: Head, box: tuple[slice, ...]) -> NDArray[np.float64]:
    affine: NDArray[np.float64] = head.affine.copy()
    affine[:3, 3] += head.affine[:3, :3] @ np.array([s.start for s in box])
    return affine


def _save(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def _labels(work: Path, name: str) -> NDArray[np.uint8]:
    import nibabel

    return np.asarray(nibabel.load(work / f"{name}_seg.nii.gz").dataobj, np.uint8)


def _merge(head: Head, boxes: dict[str, tuple[slice, ...]], work: Path) -> None:
    whole = np.zeros(head.voxels.shape, np.uint8)
    for name, box in boxes.items():
        np.maximum(whole[box], _labels(work, name), out=whole[box])
    _save(work / "whole_seg.nii.gz", whole, head.affine)


def _picture(head: Head, names: Sequence[str], work: Path) -> None:
    """The bundle's pictures under one another, and for a whole head a coronal plane of it, into overlay.png."""
    from PIL import Image

    from medmamba_monai.collection.drawing import beside, captioned, save_picture, stacked

    rows = [captioned(np.asarray(Image.open(work / f"{name}_overlay.png").convert("RGB")), name) for name in names]
    panels = [stacked(rows)]
    if names != [CUT_OUT]:
        panels.insert(0, captioned(_coronal(head, work), "coronal, the patient's left is on the left"))
    save_picture(beside(panels), work / "overlay.png")


def _coronal(head: Head, work: Path) -> NDArray[np.uint8]:
    import nibabel

    from medmamba_monai.collection.drawing import draw_contours

    upright = nibabel.as_closest_canonical
    labels = np.asarray(upright(nibabel.load(work / "whole_seg.nii.gz")).dataobj)
    voxels = upright(nibabel.Nifti1Image(head.voxels, head.affine)).get_fdata()
    place = int((labels > 0).sum((0, 2)).argmax())
    return draw_contours(voxels[:, place].T[::-1], labels[:, place].T[::-1], 3)


@contextmanager
def _all_or_nothing(output: Path) -> Iterator[Path]:
    """A hidden folder inside ``output``; its files move up if the block ends well, and vanish if it does not."""
    work = Path(tempfile.mkdtemp(prefix=".partial-", dir=output))
    try:
        yield work
        for file in sorted(path for path in work.rglob("*") if path.is_file()):
            target = output / file.relative_to(work)
            target.parent.mkdir(exist_ok=True)
            os.replace(file, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_packages() -> None:
    from importlib.util import find_spec

    missing = next((name for name in NEEDED if find_spec(name) is None), None)
    if missing:
        raise InputError(missing_sentence(missing))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai sample", description=__doc__)
    parser.add_argument("task", choices=["hippocampus"], help="what to segment")
    parser.add_argument("--image", metavar="T1.nii.gz", help="a whole head, or one hippocampus cut out (at most 80 mm)")
    parser.add_argument("--output", metavar="FOLDER", default="hippocampus", help="default: ./hippocampus")
    parser.add_argument("--bundle", metavar="FOLDER", help=f"the bundle (default: bundles/{BUNDLE} of the clone)")
    for side in SIDES:
        parser.add_argument(
            f"--{side}",
            nargs=3,
            type=float,
            metavar=("X", "Y", "Z"),
            help=f"middle of the {side} hippocampus, world millimetres (default: found by itself)",
        )
    return parser
