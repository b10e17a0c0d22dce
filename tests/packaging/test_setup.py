"""The set-up behind `make`: which Python it takes, and when it makes the environment anew."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SELECT = ROOT / "tools" / "select-python"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
FINAL = sys.version_info.releaselevel == "final" and not FREE_THREADED
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

posix = pytest.mark.skipif(os.name == "nt", reason="on Windows tools/select-python needs a shell from elsewhere")
final = pytest.mark.skipif(not FINAL, reason="a pre-release or free-threaded Python is taken by name only")


def write_command(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def select(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs select-python where PATH has nothing but `folder` and the system's own tools, without Pythons."""
    for tool in ("sort", "sed", "grep", "ls"):
        found = subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True, text=True, check=True)
        write_command(folder / "tools" / tool, f'exec {found.stdout.strip()} "$@"')
    return subprocess.run(
        ["/bin/sh", SELECT, *arguments],
        env={"PATH": f"{folder / 'bin'}:{folder / 'tools'}", "HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@posix
@final
def test_a_command_that_does_not_start_is_passed_over(tmp_path: Path) -> None:
    for minor in range(11, 16):
        write_command(tmp_path / "bin" / f"python3.{minor}", "echo 'command not found' >&2; exit 127")
    write_command(tmp_path / "bin" / "python3", f'exec "{sys.executable}" "$@"')
    done = select(tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)
    assert f"Using Python {sys.version.split()[0]}" in done.stderr


@posix
@final
def test_pyenv_folders_are_looked_into(tmp_path: Path) -> None:
    versions = tmp_path / "home" / ".pyenv" / "versions"
    write_command(versions / f"{VERSION}.9" / "bin" / f"python{VERSION}", f'exec "{sys.executable}" "$@"')
    write_command(versions / f"{VERSION}.10" / "bin" / f"python{VERSION}", "exit 1")
    write_command(versions / "2.7.18" / "bin" / "python2.7", "exit 1")
    assert select(tmp_path).stdout.strip() == sys.executable
    assert select(tmp_path, VERSION).stdout.strip() == sys.executable


@posix
def test_a_python_that_is_named_is_taken_or_refused(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    assert select(tmp_path, sys.executable).stdout.strip() == sys.executable
    refused = select(tmp_path, str(tmp_path / "nothing"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "nothing does not start" in refused.stderr


@posix
def test_without_any_python_it_says_what_to_do(tmp_path: Path) -> None:
    done = select(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs Python 3.11" in done.stderr
    assert "PYTHON=" in done.stderr
    other = select(tmp_path, "3.12")
    assert other.returncode == 1
    assert "Python 3.12" in other.stderr


@pytest.fixture
def make_venv() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_venv", ROOT / "tools" / "make_venv.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def installed(make_venv: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The dependency groups of each installation that was asked for; none is carried out."""
    asked: list[set[str]] = []

    def create(folder: Path, **_: object) -> None:
        python: Path = make_venv.environment_python(folder)
        python.parent.mkdir(exist_ok=True)
        python.touch()

    def install(_: Path, groups: set[str]) -> None:
        asked.append(groups)

    monkeypatch.setattr(make_venv, "install", install)
    monkeypatch.setattr(make_venv.venv, "create", create)
    return asked


def test_an_environment_is_made_once_and_grows_with_what_is_asked_for(
    make_venv: ModuleType, installed: list[set[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "environment"
    assert make_venv.make(folder, {"test"}) == f"{folder} is ready"
    assert make_venv.make(folder, {"test"}) == ""
    assert make_venv.make(folder, set()) == ""
    make_venv.make(folder, {"check"})
    make_venv.make(folder, {"test"})
    assert installed == [{"test"}, {"test", "check"}]


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"interpreter": "another"}, True),
        ({"requirements": "others"}, False),
        ({"requirements": None, "groups": []}, False),
    ],
    ids=["another interpreter", "a changed pyproject.toml", "an interrupted installation"],
)
def test_what_makes_it_install_again(
    make_venv: ModuleType,
    installed: list[set[str]],
    tmp_path: Path,
    change: dict[str, object],
    anew: bool,
) -> None:
    folder = tmp_path / "environment"
    make_venv.make(folder, {"test"})
    stamp = folder / make_venv.STAMP
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | change))
    (folder / "left").touch()
    make_venv.make(folder, {"test"})
    assert installed == [{"test"}, {"test"}]
    assert (folder / "left").exists() is not anew


def test_a_folder_that_somebody_else_made_is_left_as_it_is(
    make_venv: ModuleType, installed: list[set[str]], tmp_path: Path
) -> None:
    python: Path = make_venv.environment_python(tmp_path)
    python.parent.mkdir()
    python.touch()
    assert "used as it is" in make_venv.make(tmp_path, {"test"})
    assert installed == []
    assert not (tmp_path / make_venv.STAMP).exists()


def test_every_folder_with_a_pyproject_belongs_to_the_workspace(make_venv: ModuleType) -> None:
    first, *others = make_venv.distributions()
    assert first == ROOT
    assert set(others) == {path.parent for path in ROOT.glob("p*/*/pyproject.toml")}
