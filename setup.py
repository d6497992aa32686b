"""Build the scan's compiled library where a C++ compiler is found; without one the install succeeds all the same."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from setuptools import Command, setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

NATIVE = Path("medmamba_monai/ops/backends/native")
# Set to 1 for a wheel without compiled code.
SKIP_VARIABLE = "MEDMAMBA_MONAI_NO_NATIVE"


def builder() -> ModuleType:
    """The package's own build module, loaded by path: the package itself needs torch, which is not here yet."""
    spec = importlib.util.spec_from_file_location("native_build", Path(__file__).parent / NATIVE / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wants_native() -> bool:
    """True when the library can be tried here."""
    return os.environ.get(SKIP_VARIABLE) != "1" and builder().find_compiler() is not None


class BuildWithLibrary(build_py):
    """Copy the Python files, then compile the library beside them; in an editable install, into the source tree."""

    def run(self) -> None:
        super().run()
        in_place = getattr(self, "editable_mode", False)
        folder = Path(__file__).parent / NATIVE if in_place else Path(self.build_lib) / NATIVE
        if not wants_native():
            print("medmamba_monai: no C++ compiler (or it is switched off): installing without the compiled scan")
            return
        try:
            print(f"medmamba_monai: compiled the scan into {builder().build(folder.resolve())}")
        except RuntimeError as error:
            print(f"medmamba_monai: installing without the compiled scan: {error}")

    def get_outputs(self, *args: Any, **kwargs: Any) -> list[str]:
        outputs: list[str] = super().get_outputs(*args, **kwargs)
        library = Path(self.build_lib) / NATIVE / builder().library_name()
        return [*outputs, str(library)] if library.exists() else outputs


class PlatformWheel(bdist_wheel):
    """The library knows neither Python nor torch: one wheel for a platform serves every version of both."""

    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        return "py3", "none", platform


class PlatformDistribution(Distribution):
    """A distribution that is bound to a platform when the library can be compiled."""

    def has_ext_modules(self) -> bool:
        return wants_native()


commands: dict[str, type[Command]] = {"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel}
setup(cmdclass=commands, distclass=PlatformDistribution)
