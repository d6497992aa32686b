"""Every fault of an input gives one sentence that names the file, the rule and the fix."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import SaveImage
from PIL import Image

from medmamba_monai.collection.checks import InputError, check_image, check_items, check_output_dir, or_stop
from medmamba_monai.collection.savers import AtomicNibabelWriter, replacing


def write_volume(path: Path, array: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


@pytest.fixture()
def volume(tmp_path: Path) -> Path:
    return write_volume(tmp_path / "good.nii.gz", np.random.default_rng(0).normal(size=(20, 24, 16)).astype(np.float32))


def test_good_inputs_pass(tmp_path: Path, volume: Path) -> None:
    check_image(volume, spatial_dims=3)
    for mode in ("L", "RGB", "RGBA"):
        Image.new(mode, (40, 30)).save(tmp_path / f"{mode}.png")
        check_image(tmp_path / f"{mode}.png", spatial_dims=2, channels=(1, 3, 4))


def faulty(tmp_path: Path, volume: Path, fault: str) -> Path:
    path = tmp_path / f"{fault}.nii.gz"
    array = np.zeros((20, 24, 16), np.float32)
    if fault == "empty":
        path.touch()
    elif fault == "truncated":
        path.write_bytes(volume.read_bytes()[:2000])
    elif fault == "foreign":
        path.write_text("this is no image")
    elif fault == "nan":
        array[1, 2, 3] = np.nan
        write_volume(path, array)
    elif fault == "infinite":
        array[1, 2, 3] = np.inf
        write_volume(path, array)
    elif fault == "slice":
        write_volume(path, array[:, :, 0])
    elif fault == "time_series":
        write_volume(path, np.zeros((20, 24, 16, 5), np.float32))
    elif fault == "tiny":
        write_volume(path, array[:4, :4])
    return path


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("missing", "does not exist"),
        ("empty", "0 bytes"),
        ("truncated", "truncated"),
        ("foreign", "not an image"),
        ("nan", "1 NaN or infinite"),
        ("infinite", "1 NaN or infinite"),
        ("slice", "3 axes"),
        ("time_series", "5 channels"),
        ("tiny", "at least 8 voxels"),
    ],
)
def test_each_fault_is_one_sentence(tmp_path: Path, volume: Path, fault: str, rule: str) -> None:
    path = faulty(tmp_path, volume, fault)
    with pytest.raises(InputError) as caught:
        check_image(path, spatial_dims=3)
    message = str(caught.value)
    assert rule in message and str(path) in message and "\n" not in message and ": " in message


def test_thick_slices_may_be_few(tmp_path: Path) -> None:
    check_image(write_volume(tmp_path / "heart.nii.gz", np.zeros((20, 24, 6), np.float32)), spatial_dims=3)
    with pytest.raises(InputError, match=r"\(the axis across slices 2\)"):
        check_image(write_volume(tmp_path / "one.nii.gz", np.zeros((20, 24, 1), np.float32)), spatial_dims=3)


def test_all_faulty_files_are_named(tmp_path: Path, volume: Path) -> None:
    bad = [faulty(tmp_path, volume, fault) for fault in ("empty", "nan")]
    with pytest.raises(InputError) as caught:
        check_items([{"image": str(p)} for p in (volume, *bad)], spatial_dims=3)
    assert all(str(p) in str(caught.value) for p in bad) and str(volume) not in str(caught.value)


def test_no_items_and_mismatched_label(tmp_path: Path, volume: Path) -> None:
    with pytest.raises(InputError, match="no image was found"):
        check_items([], spatial_dims=3)
    label = write_volume(tmp_path / "label.nii.gz", np.zeros((20, 24, 17), np.uint8))
    with pytest.raises(InputError, match="one grid"):
        check_items([{"image": str(volume), "label": str(label)}], spatial_dims=3)


def test_or_stop_ends_with_the_sentence_only() -> None:
    def deep() -> None:
        try:
            raise InputError("height 3 is too small: pad to 8")
        except InputError as error:
            raise RuntimeError("applying transform") from error

    with pytest.raises(SystemExit) as caught:
        or_stop(deep)
    assert caught.value.code == "error: height 3 is too small: pad to 8"
    with pytest.raises(ZeroDivisionError):
        or_stop(lambda: 1 / 0)


def test_output_dir(tmp_path: Path) -> None:
    check_output_dir(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--output_dir"):
        check_output_dir(tmp_path / "file" / "below")


def test_replacing_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(InputError, match="No space left"):
        with replacing(target) as temporary:
            temporary.write_text("ne")
            raise OSError(28, "No space left on device")
    assert target.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_image_writer_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(image: nib.Nifti1Image, filename: Path) -> None:
        Path(filename).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    save = SaveImage(
        output_dir=tmp_path, output_postfix="", separate_folder=False, writer=AtomicNibabelWriter, print_log=False
    )
    save(np.ones((1, 8, 8, 8), np.float32), meta_data={"filename_or_obj": "case.nii.gz"})
    assert [p.name for p in tmp_path.iterdir()] == ["case.nii.gz"]
    monkeypatch.setattr("monai.data.image_writer.nib.save", full_disk)
    with pytest.raises(SystemExit, match="cannot save .*other.nii.gz .No space left on device"):
        or_stop(save, np.ones((1, 8, 8, 8), np.float32), meta_data={"filename_or_obj": "other.nii.gz"})
    assert [p.name for p in tmp_path.iterdir()] == ["case.nii.gz"]
