"""Headers that lie, are damaged or mean another image: one sentence each, before any voxel is read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.inferers import SlidingWindowInferer

from medmamba_monai.collection import headers
from medmamba_monai.collection.checks import InputError, check_image

itk = pytest.importorskip("itk", reason="the extra 'bundles' is not installed")
SHAPE = (20, 24, 16)


def write_volume(path: Path, shape: tuple[int, ...] = SHAPE) -> Path:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), np.eye(4)), path)
    return path


def patched(path: Path, place: int, value: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[place : place + len(value)] = value
    path.write_bytes(bytes(data))
    return path


def placed(path: Path, affine: np.ndarray) -> Path:
    """Writes the affine into the header as it is, sound or not: sform_code 254, srow_x 280."""
    patched(path, 252, struct.pack("<hh", 0, 1))
    return patched(path, 280, affine[:3].astype("<f4").tobytes())


def affine_of(*spacing: float) -> np.ndarray:
    return np.diag([*spacing, 1.0])


def one_line() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 1] = affine[:3, 0]
    return affine


def infinite() -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = np.nan
    return affine


@pytest.mark.parametrize(
    ("affine", "fault"),
    [
        (affine_of(0.0, 1, 1), "0 x 1 x 1 mm"),
        (affine_of(1000, 1000, 1000), "1000 x 1000 x 1000 mm"),
        (one_line(), "along one line"),
        (infinite(), "NaN or infinite numbers"),
    ],
)
def test_wrong_spacing_and_orientation(affine: np.ndarray, fault: str, tmp_path: Path) -> None:
    path = placed(write_volume(tmp_path / "a.nii"), affine)
    with pytest.raises(InputError, match=fault) as caught:
        check_image(path, spatial_dims=3)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("affine", [affine_of(-1, -1, 1), affine_of(0.3, 0.3, 5), np.eye(4)[[2, 0, 1, 3]]])
def test_any_sound_orientation_passes(affine: np.ndarray, tmp_path: Path) -> None:
    check_image(placed(write_volume(tmp_path / "a.nii"), affine), spatial_dims=3)


# places of the NIfTI-1 header: dim 40, datatype 70, vox_offset 108
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (40, struct.pack("<h", -3)),
        (42, struct.pack("<h", -20)),
        (42, struct.pack("<hhh", 30000, 30000, 30000)),
        (42, struct.pack("<h", 0)),
        (70, struct.pack("<h", 12345)),
        (108, struct.pack("<f", 1e9)),
    ],
    ids=["number of axes", "negative length", "huge", "no length", "data type", "offset"],
)
def test_damaged_nifti_headers(place: int, value: bytes, tmp_path: Path) -> None:
    path = patched(write_volume(tmp_path / "a.nii"), place, value)
    with pytest.raises(InputError) as caught:
        check_image(path, spatial_dims=3)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_volume_larger_than_memory_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_volume(tmp_path / "a.nii.gz")
    monkeypatch.setattr(headers, "_memory", lambda: 4.0 * np.prod(SHAPE) - 1)
    monkeypatch.setattr("medmamba_monai.collection.checks.read_array", lambda path: pytest.fail("the voxels were read"))
    with pytest.raises(InputError, match="more than this machine's .*crop or resample"):
        check_image(path, spatial_dims=3)


def test_reading_that_runs_out_of_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise MemoryError("Unable to allocate 98.2 TiB")

    monkeypatch.setattr("monai.transforms.LoadImage.__call__", full)
    with pytest.raises(InputError, match="does not fit into memory .*98.2 TiB"):
        check_image(write_volume(tmp_path / "a.nii"), spatial_dims=3)


def test_a_window_is_all_that_the_network_sees() -> None:
    """A volume of any size is cut into windows; the result is stitched in the memory of the CPU."""
    import torch

    seen: list[tuple[int, ...]] = []

    def network(window: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(window.shape[2:]))
        return torch.cat([window, 2 * window], 1)

    volume = torch.randn(1, 1, 50, 37, 21)
    inferer = SlidingWindowInferer(roi_size=(16, 16, 16), overlap=0.5, mode="gaussian", sw_device="cpu", device="cpu")
    found = inferer(volume, network)
    assert set(seen) == {(16, 16, 16)} and found.device.type == "cpu"
    assert torch.allclose(found, torch.cat([volume, 2 * volume], 1), atol=1e-5)


def write_slices(folder: Path, places: list[float]) -> Path:
    """MR slices of one series at the given heights."""
    folder.mkdir(exist_ok=True)
    meta = {"0008|0060": "MR", "0008|0016": "1.2.840.10008.5.1.4.1.1.4", "0020|000e": f"1.2.3.{len(places)}"}
    meta |= {"0020|000d": "1.2.3", "0020|0052": "1.2.4", "0020|0037": "1\\0\\0\\0\\1\\0"}
    for number, place in enumerate(places):
        pixels = np.random.default_rng(number).integers(0, 1000, (1, 24, 20)).astype(np.int16)
        image = itk.image_from_array(pixels)
        image.SetOrigin([0.0, 0.0, place])
        values = {**meta, "0020|0032": f"0\\0\\{place}", "0020|0013": str(number + 1)}
        dictionary = image.GetMetaDataDictionary()
        for key, value in values.items():
            dictionary[key] = value
        writer = itk.ImageFileWriter[type(image)].New()
        gdcm = itk.GDCMImageIO.New()
        gdcm.KeepOriginalUIDOn()
        writer.SetImageIO(gdcm)
        writer.SetFileName(str(folder / f"{len(places)}_{number}.dcm"))
        writer.SetInput(image)
        writer.Update()
    return folder


def truncated(folder: Path) -> None:
    file = sorted(folder.glob("*.dcm"))[-1]
    file.write_bytes(file.read_bytes()[:-400])


def another_series(folder: Path) -> None:
    write_slices(folder, [float(place) for place in range(9)])


def no_slices(folder: Path) -> None:
    for file in folder.glob("*.dcm"):
        file.write_bytes(b"no DICOM at all" * 20)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (truncated, "1 of 10 DICOM files"),
        (another_series, "holds 2 DICOM series"),
        (no_slices, "holds no DICOM slice"),
        (lambda folder: (folder / "10_4.dcm").unlink(), "2 to 4 mm apart"),
    ],
    ids=["truncated", "two series", "no slices", "gap"],
)
def test_damaged_dicom_series(damage: Callable[[Path], None], fault: str, tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "series", [2.0 * number for number in range(10)])
    check_image(folder, spatial_dims=3)
    damage(folder)
    with pytest.raises(InputError, match=fault) as caught:
        check_image(folder, spatial_dims=3)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
