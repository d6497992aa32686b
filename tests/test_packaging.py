"""The package's metadata, its optional packages, and what the wheel holds."""

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

LAZY = set(
    "mamba_ssm causal_conv1d selective_scan_cuda triton numba onnx onnxruntime onnxscript matplotlib nilearn nibabel "
    "scipy PIL itk monailabel timm mambapy torchvision".split()
)


def config(root: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text: str) -> dict[str, str]:
    """Package name -> the rest of its line."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found = [re.match(r"([A-Za-z0-9._-]+)(.*)", line) for line in lines if line]
    return {match[1].lower(): match[2] for match in found if match}


def imported_on_loading(file: Path) -> set[str]:
    """Top packages that a file imports outside of its functions and classes."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def sources(root: Path) -> list[Path]:
    return sorted((root / "medmamba_monai").rglob("*.py"))


def test_optional_packages_are_imported_where_used(root: Path) -> None:
    for file in sources(root):
        # the kernels are written in Triton's language; only functions of backends/triton.py load their folder
        kernels = {"triton"} if file.parent.name == "triton_kernels" else set()
        # only a MONAI Label server loads its app
        app = {"monailabel"} if file.parent.name == "monailabel" else set()
        found = (imported_on_loading(file) & LAZY) - kernels - app
        assert not found, f"{file} imports {sorted(found)} when it is loaded"


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
        # its interpreter runs the kernels on a CPU
        heavy -= {"triton"} if extra == "dev" else set()
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
