"""The package's metadata, its import arrows, and what the wheel holds."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from medmamba_monai.doctor import compiler
from medmamba_monai.extras import EXTRAS

# lower rooms import nothing from higher ones; rooms of one row import nothing from each other
ROWS = [
    ["ops"],
    ["networks.layers"],
    ["networks.blocks"],
    ["networks.nets"],
    ["weights", "export", "explain", "benchmark", "autoconfig"],
    ["collection"],
    ["apps", "__main__"],
]
RANK = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
LAZY = {"mamba_ssm", "causal_conv1d", "selective_scan_cuda", "triton", "numba", "onnx", "onnxruntime", "onnxscript",
        "matplotlib", "nilearn", "nibabel", "scipy", "itk", "monailabel", "timm", "mambapy", "torchvision"}  # fmt: skip


def config(root: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text: str) -> dict[str, str]:
    """Package name -> the rest of its line."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found = [re.match(r"([A-Za-z0-9._-]+)(.*)", line) for line in lines if line]
    return {match[1].lower(): match[2] for match in found if match}


def imported(tree: ast.AST, module: str, is_package: bool) -> set[str]:
    """Full names of every module or object that a file imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def room(name: str) -> str | None:
    parts = name.split(".")[1:]
    return next((room for room in (".".join(parts[:2]), ".".join(parts[:1])) if room in RANK), None)


def sources(root: Path) -> list[Path]:
    return sorted((root / "medmamba_monai").rglob("*.py"))


def module_of(file: Path, root: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def test_import_arrows_run_one_way(root: Path) -> None:
    wrong = []
    for file in sources(root):
        module = module_of(file, root)
        here = room(module)
        names = imported(ast.parse(file.read_text(encoding="utf-8")), module, file.name == "__init__.py")
        for name in names:
            there = room(name) if name.startswith("medmamba_monai.") else None
            if here and there and here != there and RANK[there] >= RANK[here]:
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_ops_import_only_torch(root: Path) -> None:
    allowed = {"torch", "medmamba_monai", *sys.stdlib_module_names}
    for file in sorted((root / "medmamba_monai" / "ops").rglob("*.py")):
        module = module_of(file, root)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        # an adapter may import its package inside a function
        top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        names = {name.partition(".")[0] for name in imported(top, module, file.name == "__init__.py")}
        assert names <= allowed, f"{module} imports {sorted(names - allowed)}"


def test_import_is_light() -> None:
    code = f"import sys, medmamba_monai, medmamba_monai.ops\nprint(sorted({LAZY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_optional_packages_are_imported_where_used(root: Path) -> None:
    for file in sources(root):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        names = {name.partition(".")[0] for name in imported(top, module_of(file, root), file.name == "__init__.py")}
        assert not names & LAZY, f"{file} imports {sorted(names & LAZY)} when it is loaded"


def test_every_module_says_what_it_is(root: Path) -> None:
    # that each imports annotations from __future__ is checked by ruff
    for file in sources(root):
        text = file.read_text(encoding="utf-8")
        assert not text or ast.get_docstring(ast.parse(text)), f"{file} has no docstring"


def test_extras_table_agrees_with_setup_cfg(root: Path) -> None:
    extras = config(root)["options.extras_require"]
    for module, (package, extra) in EXTRAS.items():
        assert package in requirements(extras.get(extra, raw=True)), f"{module}: {package} is not in [{extra}]"
    for extra in set(dict(EXTRAS.values()).values()):
        listed = {name for name in requirements(extras.get(extra, raw=True)) if not name.startswith("%")}
        assert listed == {package for package, of in EXTRAS.values() if of == extra}, extra


def test_constraints_pin_what_the_extras_ask_for(root: Path) -> None:
    pins = requirements((root / "constraints.txt").read_text(encoding="utf-8"))
    options = config(root)
    asked = requirements(options["options"]["install_requires"])
    asked |= requirements(options["options.extras_require"]["dev"])
    assert sorted(asked.keys() - pins.keys()) == []
    assert all(rest.startswith("==") for rest in pins.values())


def test_no_extra_but_cuda_needs_a_gpu_package(root: Path) -> None:
    extras = config(root)["options.extras_require"]
    for extra in extras:
        heavy = {"mamba-ssm", "causal-conv1d", "torchvision", "triton"} & requirements(extras[extra]).keys()
        assert extra == "cuda" or not heavy, f"[{extra}] pulls {heavy}"


def test_ci_runs_the_readme_line(root: Path) -> None:
    script = root / ".ci" / "run"
    done = subprocess.run(["bash", str(script), "--show"], capture_output=True, text=True, check=True, cwd=root)
    line = done.stdout.strip()
    assert "\n" not in line
    assert "pytest" in line
    assert line in (root / "README.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("with_compiler", [True, False])
def test_wheel_builds_with_and_without_a_compiler(root: Path, tmp_path: Path, with_compiler: bool) -> None:
    if with_compiler and compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    source = tmp_path / "source"
    built = shutil.ignore_patterns("*.so", "*.dll", "*.dylib", "__pycache__")
    shutil.copytree(root / "medmamba_monai", source / "medmamba_monai", ignore=built)
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(root / name, source / name)
    environment = os.environ | ({} if with_compiler else {"CXX": "no-such-compiler"})
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    done = subprocess.run([*command, str(source)], check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel = next(tmp_path.glob("medmamba_monai-*-py3-none-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith((".so", ".dylib", ".dll")) for name in names) == with_compiler
    assert wheel.name.endswith("-none-any.whl") != with_compiler
    assert "medmamba_monai/py.typed" in names
    assert "medmamba_monai/ops/backends/native/selective_scan.cpp" in names
    assert not [name for name in names if name.startswith(("tests/", "bundles/"))]
