"""What MONAI and its zoo demand of a bundle's files, read without running anything.

Each rule is a function that takes a bundle and gives its faults, one sentence each with the value and the fix. The
rules that build and run the bundle are in :mod:`medmamba_monai.collection.trials`.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.download import changed_files

__all__ = [
    "SCHEMA",
    "houses",
    "label_server",
    "layout",
    "name",
    "published",
    "schema",
    "targets",
    "tensors",
    "versions",
]

SCHEMA = Path(__file__).with_name("meta_schema_20240725.json")
CONFIGS = ("metadata", "train", "evaluate", "inference", "multi_gpu_train")
LARGEST = 25_000_000  # bytes; larger files are named in large_files.yml
ROOTS = ("medmamba_monai", "monai", "torch", "ignite")
Faults = Iterator[str]


def layout(bundle: Bundle) -> Faults:
    """R1: the files of a standard bundle are there, none is too large, the log is configured by plain words.

    Args:
        bundle: the bundle.
    """
    wanted = [*(f"configs/{config}.json" for config in CONFIGS), "configs/logging.conf", "models/model.pt"]
    wanted += ["docs/README.md", "docs/data_license.txt", "LICENSE"]
    for path in wanted:
        if not (bundle.root / path).is_file():
            yield f"{path} is missing: add it"
    named = _large_files(bundle.root / "large_files.yml")
    for file in sorted(bundle.root.rglob("*")):
        path = file.relative_to(bundle.root).as_posix()
        if file.is_file() and file.stat().st_size > LARGEST and path not in named:
            size = file.stat().st_size / 1e6
            yield f"{path} has {size:.0f} MB, more than 25 MB: name it in large_files.yml with url and sha256"
    if (bundle.root / "configs" / "logging.conf").is_file():
        yield from _logging(bundle.root / "configs" / "logging.conf")


def _large_files(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    import yaml  # type: ignore[import-untyped]

    entries = yaml.safe_load(file.read_text(encoding="utf-8")).get("large_files", [])
    return {entry["path"] for entry in entries if entry.get("url") and entry.get("hash_type") == "sha256"}


def _logging(file: Path) -> Faults:
    """The rules by which MONAI accepts the file; nothing in it is evaluated."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except configparser.Error as error:
        yield f"configs/logging.conf cannot be read ({str(error).splitlines()[0]}): copy that of another bundle"
        return
    for part in parser.sections():
        kind, arguments = parser[part].get("class", "StreamHandler"), parser[part].get("args", "()")
        if "." in kind.removeprefix("logging.").removeprefix("handlers."):
            yield f"configs/logging.conf names the class {kind!r}: MONAI accepts those of the standard logging only"
        try:
            ast.literal_eval(re.sub(r"\bsys\.std(out|err)\b", "None", arguments))
        except (ValueError, SyntaxError):
            yield f"configs/logging.conf has args={arguments}: MONAI accepts literal values, sys.stdout and sys.stderr"
    if "loggers" not in parser:
        yield "configs/logging.conf has no section [loggers]: copy that of another bundle"


def name(bundle: Bundle) -> Faults:
    """R3: the name survives MONAI, which cuts names at ``_v``.

    Args:
        bundle: the bundle.
    """
    if "_v" in bundle.name[1:]:
        cut = bundle.name[: bundle.name.index("_v", 1)]
        yield f"the name {bundle.name} holds '_v', where MONAI cuts it to {cut!r}: rename it"
    if not re.fullmatch(r"\w+", bundle.name):
        yield f"the name {bundle.name!r} holds more than letters, digits and underscores: rename it"


def versions(bundle: Bundle) -> Faults:
    """R2 and R3: versions that MONAI can sort, a changelog, exact versions of the required packages.

    Args:
        bundle: the bundle.
    """
    meta = bundle.metadata
    if "optional_packages_version" in meta:
        yield "metadata has optional_packages_version, which overwrites required_packages_version: move its lines there"
    changelog = meta.get("changelog", {})
    for version in (meta.get("version"), *changelog):
        if not re.fullmatch(r"\d\.\d\.\d", str(version)):
            yield f"version {version!r} is not three single digits, and versions sort as text: write such as 0.1.0"
    if meta.get("version") not in changelog:
        yield f"changelog has no line for version {meta.get('version')!r}: add one"
    for package, version in meta.get("required_packages_version", {}).items():
        if not re.fullmatch(r"[\w.+]+", str(version)):
            yield f"required_packages_version has {package} {version!r}: give one exact version"


def schema(bundle: Bundle) -> Faults:
    """R2: the metadata follow MONAI's schema, of which a copy lies in the package.

    Args:
        bundle: the bundle.
    """
    from monai.bundle import verify_metadata

    named = str(bundle.metadata.get("schema", ""))
    if not named.endswith(f"/{SCHEMA.name}"):
        yield f"metadata names the schema {named!r}: use MONAI's {SCHEMA.name}"
        return
    try:
        # a file that exists is not downloaded
        verify_metadata(meta_file=str(bundle.root / "configs" / "metadata.json"), filepath=str(SCHEMA))
    except ValueError as error:
        yield f"metadata: {' '.join(str(error).split())[:200]} Correct configs/metadata.json"


def tensors(bundle: Bundle) -> Faults:
    """R2: one input ``image``, one output ``pred``, a name for every channel of both.

    Args:
        bundle: the bundle.
    """
    data = bundle.metadata.get("network_data_format", {})
    for side, wanted in (("inputs", "image"), ("outputs", "pred")):
        found = data.get(side, {})
        if list(found) != [wanted]:
            yield f"network_data_format has the {side} {list(found)}: it must be [{wanted!r}]"
            continue
        channels, count = found[wanted].get("channel_def") or {}, found[wanted].get("num_channels")
        if sorted(channels) != sorted(str(number) for number in range(int(count or 0))):
            yield f"{wanted} has {count} channels, but channel_def names {sorted(channels)}: name each, from '0' on"


def targets(bundle: Bundle) -> Faults:
    """R4: every ``_target_`` is installed code, and nothing points into one person's folders.

    Args:
        bundle: the bundle.
    """
    from monai.bundle.config_item import ComponentLocator

    short = ComponentLocator()
    for file in sorted((bundle.root / "configs").glob("*.json")):
        text = file.read_text(encoding="utf-8")
        for word in sorted(set(re.findall(r"scripts\.|/(?:home|root)/", text))):
            yield f"{file.name} holds {word!r}, which exists in one folder only: use installed code and bundle_root"
        for target in sorted(set(re.findall(r'"_target_":\s*"([^"$@]+)"', text))):
            if "." not in target:
                found = short.get_component_module_name(target) is not None
            else:
                found = target.split(".")[0] in ROOTS and _importable(target)
            if not found:
                yield f"{file.name} has the target {target!r}, which no required package holds: name installed code"


def _importable(target: str) -> bool:
    """Whether a dotted name leads to a module, a class in a module, or a method of a class."""
    parts = target.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def houses(bundle: Bundle) -> Faults:
    """R5: the parts that the collection's configurations write alike, and other programs rely on.

    Args:
        bundle: the bundle.
    """
    for file in ("train", "inference"):
        config = bundle.config(file)
        for key, wanted in (("bundle_root", "."), ("network", "$@network_def.to(@device)")):
            if config.get(key) != wanted:
                yield f"{file}.json has {key} {config.get(key)!r}: write {wanted!r}"
        if "set_determinism" not in json.dumps(config.get("initialize", "")):
            yield f"{file}.json sets no seed: call monai.utils.set_determinism in initialize"
    train = json.dumps(bundle.config("train"))
    if "@load_pretrain" not in train:
        yield "train.json has no load_pretrain: load models/model.pt in initialize behind this flag"
    if '"key_metric_filename": "model.pt"' not in train or '"model":' not in train:
        yield 'train.json saves no model.pt: give its checkpoint saver save_dict {"model": ...} and this file name'
    evaluate = bundle.config("evaluate")
    if not any(key.startswith("validate#") for key in evaluate):
        yield "evaluate.json overrides nothing of train.json: write keys such as validate#dataset#data"


def label_server(bundle: Bundle) -> Faults:
    """R8: MONAI Label can serve it: the kind is in the name, preprocessing and postprocessing are Compose.

    Args:
        bundle: the bundle.
    """
    config = bundle.config("inference")
    if bundle.kind in ("registration", "dose"):
        # clients send one image, so the server does not offer these
        return
    for key in ("preprocessing", "postprocessing"):
        if config.get(key, {}).get("_target_") not in ("Compose", "monai.transforms.Compose"):
            yield f"inference.json's {key} is no Compose: MONAI Label reads its list of transforms"
    if "_target_" not in config.get("inferer", {}):
        yield "inference.json has no inferer: MONAI Label calls inferer(inputs, network)"
    kind = bundle.metadata.get("network_data_format", {}).get("outputs", {}).get("pred", {}).get("format")
    if kind == "classes" and "classification" not in bundle.name:
        yield f"the output is {kind!r}, but the name has no 'classification', by which MONAI Label knows it: rename it"


def published(bundle: Bundle) -> Faults:
    """R7: a downloaded bundle is what was published, file by file.

    Args:
        bundle: the bundle.
    """
    for file in changed_files(bundle.root):
        yield f"{file} is not as published: run download again with --replace, or keep your own copy under another name"
