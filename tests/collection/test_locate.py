"""Finding the hippocampi in a head: the template itself, moved and tilted heads, and images that hold none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.locate import SIDES, TEMPLATE_CENTRES, correlate, find_hippocampi
from medmamba_monai.collection.sample import Head, template

pytest.importorskip("nilearn", reason="the template head is in nilearn: install the extra [sample]")


@pytest.fixture(scope="module")
def head() -> Head:
    return template()


def tilt(degrees: float, axis: int) -> NDArray[np.float64]:
    angle, turn = np.deg2rad(degrees), np.eye(4)
    i, j = [k for k in range(3) if k != axis]
    turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return turn


def find(head: Head, voxels: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, tuple[float, ...]]:
    return dict(find_hippocampi(voxels, affine, head.voxels, head.affine))


@pytest.mark.parametrize("move", [np.eye(4), tilt(10, 0), tilt(-8, 1), tilt(8, 2) @ np.diag([0.92, 1.05, 1.0, 1.0])])
def test_finds_a_moved_head(head: Head, move: NDArray[np.float64]) -> None:
    move = move.copy()
    move[:3, 3] = (41.0, -13.0, 27.0)
    random = np.random.default_rng(0)
    voxels = (300 * head.voxels**1.3 + 50 + random.normal(0, 12, head.voxels.shape)).astype(np.float32)
    found = find(head, voxels, move @ head.affine)
    for side in SIDES:
        want = (move @ np.array([*TEMPLATE_CENTRES[side], 1.0]))[:3]
        assert np.abs(np.subtract(found[side], want)).max() <= 5, side


def test_storage_order_does_not_matter(head: Head) -> None:
    order = head.affine @ np.array([[0, 0, -1, head.voxels.shape[0] - 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    voxels = head.voxels[::-1].transpose(1, 2, 0)
    found = find(head, voxels, order)
    for side in SIDES:
        assert np.abs(np.subtract(found[side], TEMPLATE_CENTRES[side])).max() <= 2


def test_correlation_is_that_of_numpy() -> None:
    random = np.random.default_rng(0)
    volume, patch = random.normal(size=(6, 7, 8)), random.normal(size=(3, 4, 5))
    match = correlate(volume, patch)
    assert match.shape == (4, 4, 4)
    want = np.corrcoef(volume[1:4, 2:6, 3:8].ravel(), patch.ravel())[0, 1]
    assert match[1, 2, 3] == pytest.approx(want, abs=1e-5)


def test_left_and_right_swapped_is_refused(head: Head) -> None:
    with pytest.raises(InputError, match="cannot belong to one upright head: correct the orientation"):
        find(head, head.voxels[:, ::-1], head.affine)


def test_noise_is_refused(head: Head) -> None:
    noise = np.random.default_rng(0).normal(size=head.voxels.shape).astype(np.float32)
    with pytest.raises(InputError, match=r"no place in the image looks like the left hippocampus \(best match 0\.\d\d"):
        find(head, noise, head.affine)


def test_constant_and_small_images_are_refused(head: Head) -> None:
    with pytest.raises(InputError, match=r"constant \(3 nearly everywhere\)"):
        find(head, np.full((100, 100, 100), 3.0, np.float32), np.eye(4))
    with pytest.raises(InputError, match="spans 98 x 98 x 28 mm: give a whole head"):
        find(head, head.voxels[50:149, 50:149, 50:79], head.affine)
