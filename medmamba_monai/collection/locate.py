"""Finds both hippocampi in a whole head: a patch of a template head slides over the image, the best match wins.

The measure is the normalised cross-correlation, computed by Fourier transforms on a grid of 2 mm along the world
axes. It needs no registration and bears any origin, moderate tilt and scale, and any linear change of intensity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmamba_monai.collection.checks import InputError

__all__ = ["SIDES", "TEMPLATE_CENTRES", "find_hippocampi"]

SIDES = ("left", "right")
# middle of each hippocampus in MNI152 space, millimetres to the right, front and top
TEMPLATE_CENTRES = {"left": (-25.0, -22.0, -11.0), "right": (25.0, -22.0, -11.0)}
STEP = 2.0  # millimetres
HALF_PATCH = (12, 14, 10)  # grid points: a patch of 48 x 56 x 40 mm
# heads simulated with tilt, scale, noise and bias match with 0.70 or more; wrong axes and noise with 0.55 or less
LEAST_MATCH = 0.5
Volume = NDArray[np.floating[Any]]
Affine = NDArray[np.floating[Any]]
Point = tuple[float, float, float]


def find_hippocampi(image: Volume, affine: Affine, template: Volume, template_affine: Affine) -> dict[str, Point]:
    """Return the middle of the left and the right hippocampus in world coordinates (millimetres, RAS).

    Args:
        image: a T1-weighted head.
        affine: its 4 x 4 matrix from voxels to millimetres.
        template: a T1-weighted head in MNI152 space, with its matrix ``template_affine``.

    Shape:
        image and template: (X, Y, Z), any sizes.

    Raises:
        InputError: no place looks like a hippocampus, or the two places cannot belong to one upright head.
    """
    grid, corner = world_grid(_without_outliers(image), affine)
    model, model_corner = world_grid(template, template_affine)
    half = np.array(HALF_PATCH)
    if (np.array(grid.shape) < 2 * half).any():
        raise InputError(f"the image spans {_extent(grid)} mm: give a whole head, or one hippocampus of at most 80 mm")
    found: dict[str, Point] = {}
    for side in SIDES:
        middle = np.round((np.array(TEMPLATE_CENTRES[side]) - model_corner) / STEP).astype(int)
        patch = model[tuple(slice(m - h, m + h) for m, h in zip(middle, half, strict=True))]
        match = correlate(grid, patch)
        best = np.unravel_index(match.argmax(), match.shape)
        if match[best] < LEAST_MATCH:
            raise InputError(
                f"no place in the image looks like the {side} hippocampus (best match {match[best]:.2f}, {LEAST_MATCH} "
                "is needed): give a T1-weighted head with a correct orientation in its header, or the places "
                "themselves with --left X Y Z --right X Y Z"
            )
        x, y, z = corner + (np.array(best) + half) * STEP
        found[side] = (float(x), float(y), float(z))
    _check_pair(found)
    return found


def world_grid(volume: Volume, affine: Affine) -> tuple[Volume, NDArray[np.floating[Any]]]:
    """Resample a volume to steps of 2 mm along the world axes; return it and the world place of its first voxel.

    Example:
        >>> grid, corner = world_grid(np.ones((9, 9, 9)), np.diag([-1.0, 1.0, 1.0, 1.0]))
        >>> grid.shape, corner.tolist()
        ((5, 5, 5), [-8.0, 0.0, 0.0])
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    ends = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape], indexing="ij")).reshape(3, -1)
    places = affine[:3, :3] @ ends + affine[:3, 3:]
    corner, far = places.min(1), places.max(1)
    to_world = np.diag([STEP, STEP, STEP, 1.0])
    to_world[:3, 3] = corner
    to_voxel = np.linalg.inv(affine) @ to_world
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    smooth = gaussian_filter(volume.astype(np.float32), 0.75 * STEP / spacing)
    shape = tuple(np.floor((far - corner) / STEP + 1e-6).astype(int) + 1)
    return affine_transform(smooth, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1), corner


def correlate(volume: Volume, patch: Volume) -> Volume:
    """Normalised cross-correlation of a patch with every place of a volume where it fits whole, from -1 to 1.

    Example:
        >>> volume = np.random.default_rng(0).normal(size=(9, 8, 7))
        >>> match = correlate(volume, 3 * volume[2:6, 3:7, 1:5] + 5)
        >>> [int(i) for i in np.unravel_index(match.argmax(), match.shape)], round(float(match.max()), 2)
        ([2, 3, 1], 1.0)
    """
    from scipy.signal import fftconvolve

    model = patch - patch.mean()
    ones = np.ones_like(model)
    covariance = fftconvolve(volume, model[::-1, ::-1, ::-1], mode="valid")
    total = fftconvolve(volume, ones, mode="valid")
    squares = fftconvolve(volume * volume, ones, mode="valid")
    # flat places (air) have no variance: a floor keeps rounding errors from looking like a match
    variance = np.maximum(squares - total * total / model.size, 1e-3 * volume.var() * model.size)
    match: Volume = covariance / np.sqrt(variance * (model * model).sum())
    return match


def _without_outliers(image: Volume) -> Volume:
    low, high = np.percentile(image, [0.5, 99.5])
    if low == high:
        raise InputError(f"the image is constant ({low:g} nearly everywhere): give a T1-weighted head")
    return np.clip(image, low, high)


def _check_pair(found: dict[str, Point]) -> None:
    apart = np.subtract(found["right"], found["left"])
    if not (30 <= apart[0] <= 80 and abs(apart[1]) <= 20 and abs(apart[2]) <= 20):
        raise InputError(
            f"the best matches, left {_text(found['left'])} and right {_text(found['right'])}, cannot belong to one "
            "upright head: correct the orientation in the image's header, or give the places themselves with "
            "--left X Y Z --right X Y Z"
        )


def _text(point: Point) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ")"


def _extent(grid: Volume) -> str:
    return " x ".join(f"{(n - 1) * STEP:.0f}" for n in grid.shape)
