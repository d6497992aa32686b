"""The rooms of the package and the one direction in which they may import each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "medmamba_monai"
LEVELS = [
    ["ops"],
    ["networks.layers"],
    ["networks.blocks"],
    ["networks.nets"],
    ["losses", "engines", "weights", "export", "explain", "benchmark", "autoconfig"],
    ["collection"],
    ["apps", "__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
HEAVY = ["monai", "numpy", "ignite", "matplotlib", "nibabel", "triton", "mamba_ssm", "numba", "onnx", "monailabel"]


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The longest name of a room that the module lies in."""
    parts = module.split(".")[1:]
    for count in (2, 1):
        if ".".join(parts[:count]) in LEVEL:
            return ".".join(parts[:count])
    return None


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def backward_arrows(module: str, source: str) -> list[str]:
    here = room_of(module)
    if here is None:
        return []
    rooms = {name: room_of(name) for name in imported(source) if name.split(".")[0] == PACKAGE}
    return [name for name, there in rooms.items() if there is not None and LEVEL[there] > LEVEL[here]]


def test_the_walk_sees_the_package() -> None:
    assert {room_of(module_of(file)) for file in FILES} >= {"ops", "networks.layers", "networks.nets", "weights"}


def test_the_walk_sees_a_backward_arrow() -> None:
    source = "def f():\n    from medmamba_monai.networks import nets"
    assert backward_arrows(f"{PACKAGE}.ops.selective_scan", source) == [f"{PACKAGE}.networks.nets"]


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_arrows_run_one_way(file: Path) -> None:
    assert backward_arrows(module_of(file), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", [f for f in FILES if room_of(module_of(f)) == "ops"], ids=module_of)
def test_ops_import_torch_only(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    top = "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))
    # the kernels themselves: imported when one is launched
    lazy = {"triton"} if file.parent.name == "triton_kernels" else set()
    allowed = {"torch", *lazy, *sys.stdlib_module_names}
    for name in imported(top):
        assert name.split(".")[0] in allowed or name.startswith((f"{PACKAGE}.ops", f"{PACKAGE}.__")), name


@pytest.mark.parametrize(
    ("module", "forbidden"), [(PACKAGE, ["torch", *HEAVY]), (f"{PACKAGE}.ops", ["monai", *HEAVY[2:]])]
)
def test_imports_stay_light(module: str, forbidden: list[str]) -> None:
    code = f"import sys, {module}; print(*(name for name in {forbidden!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
