"""The command line: what it prints, and that bad input ends in one sentence and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medmamba_monai import __version__
from medmamba_monai.__main__ import COMMANDS, main


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medmamba_monai", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_version_from_any_folder(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, f"medmamba_monai {__version__}")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text and about in text for name, (_, about) in COMMANDS.items())


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"python -m medmamba_monai {command}" in capsys.readouterr().out


def test_help_does_not_load_torch() -> None:
    code = "import sys, medmamba_monai.__main__ as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [[], ["brew"], ["doctor", "--nonsense"], ["sample"], ["sample", "kidney"]])
def test_wrong_options_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m medmamba_monai" in capsys.readouterr().err


def test_fault_of_a_command_is_one_sentence(tmp_path: Path) -> None:
    done = run("sample", "hippocampus", "--image", "nowhere.nii.gz", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("nowhere.nii.gz does not exist: check the path")
    assert "Traceback" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_traceback_on_request(tmp_path: Path) -> None:
    done = run("--traceback", "sample", "hippocampus", "--image", "nowhere.nii.gz", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'nibabel'", name="nibabel")

    monkeypatch.setattr("medmamba_monai.doctor.main", fail)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == 'error: nibabel is not installed: pip install "medmamba-monai[bundles]"\n'


def test_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("medmamba_monai.doctor.main", stop)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_unknown_backend_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["benchmark", "scan", "--backend", "warp"])
    except SystemExit as stop:  # argparse refuses by itself when the backends are choices
        code = int(stop.code or 0)
    assert code != 0
    assert "warp" in capsys.readouterr().err
