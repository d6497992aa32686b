"""What the readers of all data sets share: folders, split lists, file names, sampling weights."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmamba_monai.collection.checks import InputError

SECTIONS = ("train", "val", "test")
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
Item = dict[str, object]
Reader = Callable[[str | Path, str, str | Path], list[Item]]
Converter = Callable[[Path, Path, set[str]], bool]


@dataclass(frozen=True)
class DataSet:
    """A data set that a bundle trains on.

    Args:
        reader: lists one section; called with the folder, the section and the split file.
        spatial_dims: 2 for pictures, 3 for volumes.
        channels: the channel counts of its images.
        bundle: the bundle whose split list is the default.
        convert: turns a download that no image reader reads into ``images/`` and ``labels/``; called with the
            download, a new folder and the cases that are wanted; False when the folder is no such download.
    """

    reader: Reader
    spatial_dims: int
    channels: tuple[int, ...]
    bundle: str
    convert: Converter | None = None


def open_folder(path: str | Path, what: str) -> Path:
    """Returns a folder that must exist; ``what`` is the argument's name for the error.

    Raises:
        InputError: when there is no such folder.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"{what} {str(path)!r} is not a folder: give the folder that holds the data")
    return folder


def read_split(file: str | Path) -> dict[str, list[str]]:
    """Reads the case names of train, val and test.

    Raises:
        InputError: when the file or one of its lists is missing.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError(f"the split list {str(file)!r} does not exist: restore the bundle's configs/splits.json")
    with path.open(encoding="utf-8") as stream:
        split = json.load(stream)
    missing = [section for section in SECTIONS if not isinstance(split.get(section), list)]
    if missing:
        raise InputError(f"the split list {str(file)!r} has no list named {missing[0]!r}: it needs train, val and test")
    return {section: list(split[section]) for section in SECTIONS}


def groups_of(file: str | Path) -> dict[str, str]:
    """Reads the group of each case (``groups`` in a split file); cases that must not be parted share one."""
    return words_of(file, "groups")


def words_of(file: str | Path, key: str) -> dict[str, str]:
    """Reads what a split file says of each case under ``key``; empty when it has no such key."""
    with Path(file).open(encoding="utf-8") as stream:
        found: dict[str, object] = json.load(stream).get(key, {})
    return {case: str(word) for case, word in found.items()}


def stems(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Maps a case name to its file; hidden files (the ``._`` ones of macOS archives too) are skipped."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in suffixes if path.name.lower().endswith(s)), None)
        if suffix is not None and not path.name.startswith("."):
            found[path.name[: -len(suffix)]] = path
    return found


def section_of(split: dict[str, list[str]], section: str, dataset_dir: str | Path) -> list[str]:
    """Returns the cases of one section.

    Raises:
        InputError: for an unknown section, or when it has no case.
    """
    if section not in split:
        raise InputError(f"section {section!r} is unknown: use one of {', '.join(SECTIONS)}")
    if not split[section]:
        raise InputError(f"dataset_dir {str(dataset_dir)!r} holds no case of the {section} list: check the case names")
    return split[section]


def paired_items(
    images: dict[str, Path], labels: dict[str, Path], dataset_dir: str | Path, section: str, split_file: str | Path
) -> list[Item]:
    """Lists the cases of one section that are there, each with image, label, case and group (``groups`` of the split).

    When the split file has ``sites`` (a word a case), each item has its ``site`` too.

    Args:
        images: file of each case.
        labels: label file of each case.
        dataset_dir: folder with the data, for the errors.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the case names of the three sections.

    Raises:
        InputError: a listed image has no label, the section is unknown, or it has no case there.
    """
    split = {key: [name for name in names if name in images] for key, names in read_split(split_file).items()}
    lost = sorted({name for names in split.values() for name in names} - set(labels))
    if lost:
        raise InputError(f"case {lost[0]!r} in {str(dataset_dir)!r} has an image but no label: restore its label")
    groups, sites = groups_of(split_file), words_of(split_file, "sites")
    items: list[Item] = []
    for case in section_of(split, section, dataset_dir):
        item: Item = {"image": str(images[case]), "label": str(labels[case]), "case": case}
        items.append(item | {"group": groups.get(case, case)} | ({"site": sites[case]} if sites else {}))
    return items


def repeated(items: Iterable[Item], key: str, values: Sequence[float], suffix: str) -> list[Item]:
    """Lists each case once for each value, which is its ``site`` too, so that reports tell them apart.

    Args:
        items: datalist with ``case``.
        key: where the value is put.
        values: the values.
        suffix: word behind the value in names of cases and sites.

    Example:
        >>> [item["case"] for item in repeated([{"case": "a"}], "acceleration", [4, 8], "x")]
        ['a_4x', 'a_8x']
    """
    words = [(value, f"{value:g}{suffix}") for value in values]
    return [
        {**item, key: float(value), "case": f"{item['case']}_{word}", "site": word}
        for item in items
        for value, word in words
    ]


def input_files(image: str | Path, dataset_dir: str | Path) -> list[Item]:
    """Lists what inference shall read: one image, or every image of a folder.

    A folder of DICOM slices counts as one image.

    Args:
        image: one file or DICOM folder; empty to read ``dataset_dir``.
        dataset_dir: folder with images, or with a subfolder ``images`` or ``imagesTs``.

    Raises:
        InputError: when nothing readable is there.
    """
    if str(image):
        path = Path(image).expanduser()
        if not path.exists():
            raise InputError(f"image {str(image)!r} does not exist: check the path")
        return [{"image": str(path), "case": file_stem(path)}]
    root = open_folder(dataset_dir, "dataset_dir")
    folder = next((root / name for name in ("imagesTs", "images") if (root / name).is_dir()), root)
    found = stems(folder, sorted(IMAGE_SUFFIXES, key=len, reverse=True))
    if not found:
        raise InputError(f"{str(folder)!r} holds no image: known endings are {', '.join(IMAGE_SUFFIXES)}")
    return [{"image": str(path), "case": name} for name, path in found.items()]


def file_stem(path: Path) -> str:
    """Returns the name of an image's file without its ending."""
    suffix = next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def labelled_items(
    files: dict[str, Path], classes: Sequence[str], dataset_dir: str | Path, section: str, split_file: str | Path
) -> list[Item]:
    """Makes items of pictures whose classes, and perhaps groups and sites, stand in the split file.

    Args:
        files: picture of each case; a case outside the lists is left out.
        classes: names of the classes, in the order of the network's outputs.
        dataset_dir: folder with the data, for errors.
        section: ``train``, ``val`` or ``test``.
        split_file: JSON file with the lists, ``labels`` and perhaps ``groups`` and ``sites``.

    Raises:
        InputError: for an unknown section, or when it has no picture.
    """
    split = {key: [name for name in names if name in files] for key, names in read_split(split_file).items()}
    labels, groups, sites = (words_of(split_file, key) for key in ("labels", "groups", "sites"))
    items: list[Item] = [
        {
            "image": str(files[case]),
            "label": classes.index(labels[case]),
            "case": case,
            "group": groups.get(case, case),
        }
        for case in section_of(split, section, dataset_dir)
    ]
    return [{**item, "site": sites[str(item["case"])]} for item in items] if sites else items


def balanced_weights(items: Iterable[Item], power: float = 1.0, key: str = "label") -> list[float]:
    """Gives every item a weight so that rare classes are drawn more often.

    Args:
        items: datalist with the class of each item under ``key``.
        power: 1 draws each class equally often, 0 as often as it is found, 0.5 lies between.
        key: ``label`` for class numbers, ``site`` for sites or kinds of pictures.

    Example:
        >>> balanced_weights([{"label": 0}, {"label": 0}, {"label": 1}])
        [0.5, 0.5, 1.0]
    """
    labels = [item[key] for item in items]
    count = Counter(labels)
    return [count[label] ** -power for label in labels]
