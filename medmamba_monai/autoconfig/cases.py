"""The cases of a data folder: nnU-Net raw, Decathlon, a MONAI datalist, or plain ``images`` with ``labels``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Case", "DataFault", "DataFolder", "input_cases", "open_data", "stem"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
LABEL_FOLDERS = ("labels", "masks")
# who a case belongs to, in a split file
GROUP_KEYS = ("groups", "subject", "near_duplicate_group", "field_group")
SUBJECT = re.compile(r"^(sub-[A-Za-z0-9]+|patient-?\d+)[_-]")
LAYOUTS = (
    "nnU-Net raw (dataset.json, imagesTr, labelsTr), Decathlon (dataset.json with a list 'training'), "
    "a MONAI datalist (a JSON file with a list 'training'), or images/ with labels/ or masks/"
)


class DataFault(ValueError):
    """Faults in a data folder, one sentence each."""


@dataclass(frozen=True)
class Case:
    """One case: its image files (one a channel, or one for all), its label file, and whom it belongs to."""

    name: str
    images: tuple[Path, ...]
    label: Path | None
    group: str
    test: bool = False
    fold: int | None = None


@dataclass(frozen=True)
class DataFolder:
    """What a data folder declares.

    Args:
        root: the folder, or the JSON file of a datalist.
        layout: nnunet, decathlon, datalist or plain.
        cases: the labelled cases.
        channels: names of the channels where they are declared.
        labels: class numbers by name where they are declared, the background 0 first.
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    channels: tuple[str, ...] = ()
    labels: Mapping[str, int] | None = None

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.root.resolve().stem if self.root.is_file() else self.root.resolve().name

    @property
    def pictures(self) -> bool:
        """Whether the images are pictures, so two-dimensional."""
        return all(is_picture(case.images[0]) for case in self.cases)


def is_picture(path: Path) -> bool:
    """Whether a file name is that of a picture."""
    return path.name.lower().endswith(PICTURES)


def open_data(path: str | Path, groups: str | Path | None = None) -> DataFolder:
    """Find the cases of a data folder, whatever its layout.

    Args:
        path: the folder, or a datalist's JSON file.
        groups: JSON file {case: group}; cases of a group are never parted.

    Raises:
        DataFault: the folder is missing, of no known layout, or declares what is not supported.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise DataFault(f"{root} does not exist: give the folder of the data set")
    data = _open(root)
    if not data.cases:
        raise DataFault(f"{root} holds no case: its layout was taken for {data.layout}")
    names = [case.name for case in data.cases]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataFault(f"case {twice[0]!r} is there twice: give each image a name of its own")
    if groups is not None:
        known = _json(Path(groups))
        data = replace(data, cases=tuple(replace(c, group=str(known.get(c.name, c.group))) for c in data.cases))
    return replace(data, cases=tuple(sorted(data.cases, key=lambda case: case.name)))


def _open(root: Path) -> DataFolder:
    if root.is_file():
        return _datalist(root, root, _json(root))
    about = root / "dataset.json"
    if about.is_file():
        content = _json(about)
        if isinstance(content.get("training"), list) and "channel_names" not in content:
            return _decathlon(root, content)
        return _nnunet(root, content)
    lists = [(file, _json(file)) for file in sorted(root.glob("*.json"))]
    found = [(file, content) for file, content in lists if isinstance(content.get("training"), list)]
    if len(found) == 1:
        return _datalist(root, *found[0])
    for folder in LABEL_FOLDERS:
        if (root / "images").is_dir() and (root / folder).is_dir():
            return _plain(root, root / folder)
    raise DataFault(f"{root} has none of the known layouts: {LAYOUTS}")


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataFault(f"{file} cannot be read as JSON ({error}): mend it") from None
    return found if isinstance(found, dict) else {}


def stem(file: Path) -> str | None:
    """The name of an image file without its ending; None for other files.

    Example:
        >>> stem(Path("case_1.nii.gz"))
        'case_1'
    """
    ending = next((e for e in (*VOLUMES, *PICTURES) if file.name.lower().endswith(e)), None)
    return None if ending is None or file.name.startswith(".") else file.name[: -len(ending)]


def _files(folder: Path) -> dict[str, Path]:
    found = {stem(file): file for file in sorted(folder.iterdir())} if folder.is_dir() else {}
    return {name: file for name, file in found.items() if name is not None}


def _group(name: str) -> str:
    subject = SUBJECT.match(name)
    return subject[1] if subject else name


def by_channel(files: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Join files CASE_0000, CASE_0001 to cases, as nnU-Net names its channels.

    Example:
        >>> by_channel({"a_0001": Path("y"), "a_0000": Path("x")}) == {"a": (Path("x"), Path("y"))}
        True
    """
    joined: dict[str, dict[str, Path]] = {}
    for name, file in files.items():
        case, _, channel = name.rpartition("_")
        joined.setdefault(case, {})[channel] = file
    return {case: tuple(found[key] for key in sorted(found)) for case, found in joined.items()}


def _nnunet(root: Path, about: dict[str, Any]) -> DataFolder:
    names = about.get("channel_names") or about.get("modality")
    labels = about.get("labels")
    if not isinstance(names, dict) or not isinstance(labels, dict):
        raise DataFault(f"{root / 'dataset.json'} lacks channel_names or labels: nnU-Net's format needs both")
    if any(not isinstance(value, int) for value in labels.values()) or "ignore" in labels:
        raise DataFault(f"{root / 'dataset.json'} has regions or an ignore label: give one whole number a class")
    images = by_channel(_files(root / "imagesTr"))
    targets = _files(root / "labelsTr")
    cases = [Case(name, files, targets.get(name), _group(name)) for name, files in images.items()]
    wrong = [case.name for case in cases if len(case.images) != len(names)]
    if wrong:
        raise DataFault(f"case {wrong[0]!r} has not the {len(names)} channel files that dataset.json names")
    count = about.get("numTraining", len(cases))
    if count != len(cases):
        raise DataFault(f"dataset.json says numTraining {count}, but imagesTr holds {len(cases)} cases: correct one")
    channels = tuple(str(names[key]) for key in sorted(names, key=int))
    return DataFolder(root, "nnunet", tuple(cases), channels, labels)


def _decathlon(root: Path, about: dict[str, Any]) -> DataFolder:
    modality, labels = about.get("modality") or {}, about.get("labels") or {}
    cases = _listed(root, about["training"])
    known = {str(name): int(value) for value, name in labels.items()} if labels else None
    channels = tuple(str(modality[key]) for key in sorted(modality, key=int))
    return DataFolder(root, "decathlon", cases, channels, known)


def _datalist(root: Path, file: Path, about: dict[str, Any]) -> DataFolder:
    if not isinstance(about.get("training"), list):
        raise DataFault(f"{file} holds no list 'training': a MONAI datalist has one")
    cases = _listed(file.parent, about["training"])
    labels = about.get("labels")
    known = {str(name): int(value) for value, name in labels.items()} if isinstance(labels, dict) else None
    modality = about.get("modality")
    channels = tuple(str(name) for name in modality.values()) if isinstance(modality, dict) else ()
    return DataFolder(root, "datalist", cases, channels or ((str(modality),) if modality else ()), known)


def _listed(base: Path, entries: Iterable[Any]) -> tuple[Case, ...]:
    cases = []
    for entry in entries:
        if not isinstance(entry, dict) or "image" not in entry:
            raise DataFault(f"entry {entry!r} of the list 'training' has no 'image': give {{'image': .., 'label': ..}}")
        files = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
        images = tuple(base / str(file) for file in files)
        label = base / str(entry["label"]) if entry.get("label") else None
        name = stem(images[0]) or images[0].name
        group = str(entry.get("group", entry.get("subject", _group(name))))
        cases.append(Case(name, images, label, group, fold=entry.get("fold")))
    return tuple(cases)


def _plain(root: Path, label_folder: Path) -> DataFolder:
    images, labels = _files(root / "images"), _files(label_folder)
    split = _json(root / "splits.json") if (root / "splits.json").is_file() else {}
    groups: dict[str, Any] = next((split[key] for key in GROUP_KEYS if isinstance(split.get(key), dict)), {})
    # a list may name the subject of files SUBJECT_1, SUBJECT_2
    listed = {str(name): part for part in ("train", "val", "test") for name in split.get(part, [])}
    cases = []
    for name, file in images.items():
        home = next((unit for unit in (name, name.rpartition("_")[0]) if unit in listed), None)
        if listed and home is None:
            continue
        group = groups.get(name, home if home not in (None, name) else _group(name))
        cases.append(Case(name, (file,), labels.get(name), str(group), listed.get(home or "") == "test"))
    names = split.get("label_names")
    known = {str(name): int(value) for value, name in names.items()} if isinstance(names, dict) else None
    return DataFolder(root, "plain", tuple(cases), (), known)


def input_cases(path: str | Path, channels_in_files: int) -> dict[str, tuple[Path, ...]]:
    """The images of a file or folder to predict, those of several files joined as nnU-Net names them.

    Args:
        path: one image, or a folder.
        channels_in_files: files of one case.

    Raises:
        DataFault: nothing is there.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise DataFault(f"{place} does not exist: give an image, or a folder of images")
    folder = place if place.is_dir() else place.parent
    folder = next((folder / n for n in ("imagesTs", "images") if place.is_dir() and (folder / n).is_dir()), folder)
    files = _files(folder)
    found: dict[str, tuple[Path, ...]] = {name: (file,) for name, file in files.items()}
    found = by_channel(files) if channels_in_files > 1 else found
    if place.is_file():
        found = {name: group for name, group in found.items() if place in group} or {stem(place) or "": (place,)}
    wrong = [name for name, group in found.items() if len(group) != channels_in_files]
    if not found or wrong:
        seen = f"case {wrong[0]!r} has {len(found[wrong[0]])} files" if wrong else "no image is there"
        raise DataFault(f"{place}: {seen}; {channels_in_files} file(s) a case are needed (CASE_0000, CASE_0001, ..)")
    return found
