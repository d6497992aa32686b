"""Checks of an image's header, before its voxels are read: size against memory, spacing, orientation, slices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medmamba_monai.collection.checks import InputError

__all__ = ["check_header"]

NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
SPACING = (0.01, 50.0)  # millimetres: a cell in a volume of tissue, a thick slice
EVEN = 0.05  # share by which distances of slices may differ
BYTES = 4  # of a voxel as float32


def check_header(path: str | os.PathLike[str], spatial_dims: int) -> None:
    """Checks what a NIfTI file or a folder of DICOM slices says of itself; other files pass.

    Args:
        path: the file or folder.
        spatial_dims: 2 for pictures, whose place in the body is not asked for, 3 for volumes.

    Raises:
        InputError: one sentence that names the file, the value, the rule and the fix.
    """
    path = Path(path)
    if path.is_dir():
        _check_slices(path)
    elif path.name.lower().endswith(NIFTI):
        _check_nifti(path, spatial_dims)


def _check_nifti(path: Path, spatial_dims: int) -> None:
    import nibabel as nib

    try:
        image = nib.load(path)
    except Exception:
        return  # reading the voxels tells the reason
    shape, affine = image.shape, image.affine
    if min(shape, default=0) < 1:
        raise InputError(f"{path} has shape {shape} in its header: the header is damaged; export the image again")
    _check_memory(path, shape)
    if spatial_dims == 3:
        _check_affine(path, np.asarray(affine, float))


def _check_memory(path: Path, shape: Sequence[int]) -> None:
    needed, free = float(np.prod([float(n) for n in shape])) * BYTES, _memory()
    if free is not None and needed > free:
        raise InputError(
            f"{path} has shape {tuple(shape)} in its header, {needed / 1e9:.3g} GB in memory, more than this machine's "
            f"{free / 1e9:.3g} GB: crop or resample it, or export it again if the shape is wrong"
        )


def _memory() -> float | None:
    """Bytes of memory of this machine; None where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _check_affine(path: Path, affine: np.ndarray) -> None:
    if not np.isfinite(affine).all():
        raise InputError(f"{path} has NaN or infinite numbers in its orientation: export the image again")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    text = " x ".join(f"{value:.4g}" for value in spacing)
    if not ((spacing >= SPACING[0]) & (spacing <= SPACING[1])).all():
        raise InputError(
            f"{path} has voxels of {text} mm, but {SPACING[0]:g} to {SPACING[1]:g} mm is plausible: "
            "correct the spacing in its header"
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise InputError(f"{path} has two axes along one line in its orientation: export the image again")


def _check_slices(folder: Path) -> None:
    """Refuses a folder with several series, a series with gaps, and files that are no DICOM slices."""
    import itk

    names = itk.GDCMSeriesFileNames.New()
    names.SetUseSeriesDetails(True)
    names.SetDirectory(str(folder))
    series = list(names.GetSeriesUIDs())
    if not series:
        raise InputError(f"{folder} holds no DICOM slice that can be read: give a folder with one series, or an image")
    if len(series) > 1:
        raise InputError(f"{folder} holds {len(series)} DICOM series: give a folder with one")
    files = list(names.GetFileNames(series[0]))
    meant = sum(_is_dicom(file) for file in folder.iterdir())
    if len(files) < meant:
        raise InputError(
            f"{meant - len(files)} of {meant} DICOM files in {folder} cannot be read: export the whole series"
        )
    if len(files) > 2:
        _check_gaps(folder, files)


def _is_dicom(file: Path) -> bool:
    if not file.is_file() or file.name == "DICOMDIR":
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _check_gaps(folder: Path, files: Sequence[str]) -> None:
    import itk

    places = []
    for file in files:
        reader = itk.GDCMImageIO.New()
        reader.SetFileName(file)
        reader.ReadImageInformation()
        normal = np.asarray(reader.GetDirection(2), float)
        places.append(float(normal @ [reader.GetOrigin(axis) for axis in range(3)]))
    steps = np.abs(np.diff(sorted(places)))
    if steps.max() - steps.min() > EVEN * max(float(np.median(steps)), 1e-6):
        raise InputError(
            f"{folder} has {len(files)} slices {steps.min():.3g} to {steps.max():.3g} mm apart: slices are missing or "
            "twice there; export the whole series"
        )
