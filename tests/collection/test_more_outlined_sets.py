"""Readers of retina, left ventricle, glands and fetal heads, and how ``prepare`` turns their publishers' downloads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.datasets import SECTIONS, fetal_head, glands, left_ventricle, retina
from medmamba_monai.collection.datasets.fetal_head import TABLE, read_sizes
from medmamba_monai.collection.datasets.glands import PUBLISHED
from medmamba_monai.collection.prepare import prepare

LISTS: dict[str, list[str]] = {"train": ["a1", "a2"], "val": ["b1"], "test": ["c1"]}


def split_file(folder: Path, split: dict[str, list[str]], **more: dict[str, str]) -> Path:
    file = folder / "lists.json"
    file.write_text(json.dumps(split | more), encoding="utf-8")
    return file


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def one_each(*cases: str) -> dict[str, list[str]]:
    return {section: [case] for section, case in zip(SECTIONS, cases, strict=True)}


@pytest.mark.parametrize("labels", ["labels", "masks"])
@pytest.mark.parametrize("reader", [left_ventricle, glands, fetal_head, retina])
def test_the_plain_layout(reader: Callable, labels: str, tmp_path: Path) -> None:
    labels = "masks_1stHO" if (reader, labels) == (retina, "masks") else labels
    lists = split_file(tmp_path, LISTS, groups={"a1": "7"}, sites={"a1": "kind"})
    fill(tmp_path / "images", "a1.png", "other.png", "._a1.png")
    fill(tmp_path / labels, "a1.png")
    (item,) = reader(tmp_path, "train", lists)
    assert (item["case"], item["group"], item["site"]) == ("a1", "7", "kind")
    assert item["image"] == str(tmp_path / "images" / "a1.png") and item["label"] == str(tmp_path / labels / "a1.png")
    (tmp_path / labels / "a1.png").unlink()
    with pytest.raises(InputError, match="'a1'.* has an image but no label"):
        reader(tmp_path, "train", lists)


@pytest.mark.parametrize("reader", [left_ventricle, glands, fetal_head, retina])
def test_other_layouts_are_refused(reader: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has neither|prepare"):
        reader(tmp_path, "train", split_file(tmp_path, LISTS))


@pytest.mark.parametrize("parent", ["", "CHASEDB1"])
def test_chase_with_both_observers(parent: str, tmp_path: Path) -> None:
    names = ("Image_01L", "Image_02R", "Image_03L")
    (tmp_path / parent).mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (20, 12)).save(tmp_path / parent / f"{name}.jpg")
        for end in ("_1stHO", "_2ndHO"):
            Image.new("1", (20, 12), end == "_2ndHO").save(tmp_path / parent / f"{name}{end}.png")
    lists = split_file(tmp_path, one_each(*names))
    (item,) = retina(tmp_path, "train", lists)
    assert str(item["label"]).endswith("_1stHO.png") and str(item["second"]).endswith("_2ndHO.png")
    assert prepare("retina", tmp_path, tmp_path / "out", lists) == dict.fromkeys(SECTIONS, 1)
    (again,) = retina(tmp_path / "out", "test", lists)
    assert again["second"] == str(tmp_path / "out" / "second" / "Image_03L.png")
    assert np.asarray(Image.open(str(again["second"]))).all() and not np.asarray(Image.open(str(again["label"]))).any()
    (tmp_path / parent / "Image_01L_2ndHO.png").unlink()
    assert "second" not in retina(tmp_path, "train", lists)[0]


def test_phases_of_the_heart(tmp_path: Path) -> None:
    fill(tmp_path / "images", "a1.png", "a2.png")
    fill(tmp_path / "masks", "a1.png", "a2.png")
    items = left_ventricle(tmp_path, "train", split_file(tmp_path, LISTS, phases={"a1": "ES"}))
    assert [item["phase"] for item in items] == ["ES", "unknown"]
    assert "phase" not in left_ventricle(tmp_path, "train", split_file(tmp_path, LISTS))[0]


def write_sunnybrook(root: Path) -> list[str]:
    import itk

    cases = []
    lines = ["\ufeffPatientID,OriginalID,Gender"]
    for number, original in enumerate(("SC-HF-I-1", "SC-HYP-12", "SC-N-03"), start=1):
        subject = original.replace("-1", "-01") if original.endswith("-1") else original
        contours = root / "SCD_ManualContours" / subject / "contours-manual" / "IRCCI-expert"
        series = root / "SCD_IMAGES_01" / f"SCD000{number}01" / "CINESAX_300"
        contours.mkdir(parents=True)
        series.mkdir(parents=True)
        fill(series.parent / "CINELAX_301", "IM-0004-0048.dcm")
        # a slice that is brighter to the right, and a contour of columns 10 to 19 and rows 5 to 8
        itk.imwrite(itk.image_from_array(np.tile(np.arange(30, dtype=np.int16) * 10, (20, 1))), str(series / "a.dcm"))
        (series / "a.dcm").rename(series / "IM-0003-0048.dcm")
        corners = "10.0 5.0\n19.0 5.0\n19.0 8.0\n10.0 8.0\n"
        (contours / "IM-0001-0048-icontour-manual.txt").write_text(corners, encoding="utf-8")
        (contours / "IM-0001-0048-ocontour-manual.txt").write_text("0 0\n", encoding="utf-8")
        lines.append(f"SCD000{number}01,{original},Male")
        cases.append(f"{subject}-IM-0001-0048")
    (root / "scd_patientdata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return cases


def test_prepare_draws_the_contours_of_sunnybrook(tmp_path: Path) -> None:
    cases = write_sunnybrook(tmp_path / "download")
    lists = split_file(tmp_path, one_each(*cases))
    assert prepare("left_ventricle", tmp_path / "download", tmp_path / "out", lists) == dict.fromkeys(SECTIONS, 1)
    image = np.asarray(Image.open(tmp_path / "out" / "images" / f"{cases[0]}.png"))
    label = np.asarray(Image.open(tmp_path / "out" / "labels" / f"{cases[0]}.png"))
    assert image.shape == label.shape == (20, 30) and image[0, 0] == 0 and (image[:, 29] == 255).all()
    rows, columns = np.nonzero(label)
    assert (rows.min(), rows.max(), columns.min(), columns.max(), len(rows)) == (5, 8, 10, 19, 40)
    next((tmp_path / "download").rglob("SCD000201/CINESAX_300/*.dcm")).unlink()
    with pytest.raises(InputError, match="SC-HYP-12 .*SCD000201.*unpack all parts"):
        prepare("left_ventricle", tmp_path / "download", tmp_path / "second", lists)


def test_prepare_halves_the_glands(tmp_path: Path) -> None:
    names = ("train_1", "testA_2", "testB_3")
    folder = tmp_path / PUBLISHED
    folder.mkdir()
    label = np.zeros((18, 25), np.uint8)
    label[2:8, 2:10], label[2:8, 10:20] = 4, 9
    for name in names:
        Image.new("RGB", (25, 18), (200, 100, 150)).save(folder / f"{name}.bmp")
        Image.fromarray(label).save(folder / f"{name}_anno.bmp")
    lists = split_file(tmp_path, one_each(*names))
    assert prepare("glands", tmp_path, tmp_path / "out", lists) == dict.fromkeys(SECTIONS, 1)
    halved = np.asarray(Image.open(tmp_path / "out" / "labels" / "train_1.png"))
    assert halved.shape == (9, 13) and set(np.unique(halved)) == {0, 4, 9}
    assert Image.open(tmp_path / "out" / "images" / "testB_3.png").getpixel((0, 0)) == (200, 100, 150)
    (folder / "testA_2_anno.bmp").unlink()
    with pytest.raises(InputError, match="has no testA_2_anno.bmp"):
        prepare("glands", tmp_path, tmp_path / "second", lists)


@pytest.mark.parametrize("table_beside", [True, False])
def test_prepare_fills_the_outlines_of_heads(table_beside: bool, tmp_path: Path) -> None:
    names = ("000_HC", "010_HC", "010_2HC")
    folder = tmp_path / "training_set"
    folder.mkdir()
    rows, columns = np.mgrid[:40, :60]
    for name in names:
        Image.new("L", (60, 40), 9).save(folder / f"{name}.png")
        # the right end of the ellipse lies outside the picture
        distance = ((columns - 40) / 25) ** 2 + ((rows - 20) / 15) ** 2
        Image.fromarray(np.where(abs(distance - 1) < 0.12, 255, 0).astype(np.uint8)).save(
            folder / f"{name}_Annotation.png"
        )
    lines = ["filename,pixel size(mm),head circumference (mm)", *(f"{name}.png,0.5,62.5" for name in names)]
    table = (tmp_path if table_beside else folder) / TABLE
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    lists = split_file(tmp_path, one_each(*names))
    assert prepare("fetal_head", tmp_path, tmp_path / "out", lists) == dict.fromkeys(SECTIONS, 1)
    label = np.asarray(Image.open(tmp_path / "out" / "labels" / "000_HC.png"))
    assert label[20, 16:].all() and label[6:35, 40].all() and not label[:, :14].any() and label[0, 40] == 0
    (item,) = fetal_head(tmp_path / "out", "val", lists)
    assert (item["pixel_mm"], item["head_circumference_mm"]) == (0.5, 62.5)
    (tmp_path / "out" / "splits.json").unlink()
    assert np.isnan(fetal_head(tmp_path / "out", "val", lists)[0]["pixel_mm"])
    (folder / "010_HC_Annotation.png").unlink()
    with pytest.raises(InputError, match="010_HC has no 010_HC_Annotation.png"):
        prepare("fetal_head", tmp_path, tmp_path / "second", lists)


def test_a_table_without_sizes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("filename,size\na.png,1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"has no column 'pixel size\(mm\)'"):
        read_sizes(tmp_path / "t.csv")
    with pytest.raises(InputError, match="does not exist"):
        read_sizes(tmp_path / "none.csv")
