"""The tutorial's backend as its reader gets it: built, installed, found by name, certified; in under 60 lines.

`make test` installs it beside this environment's packages; `make wheels` in an environment of its own, from wheels.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "write-a-backend.md"
TITLED = re.compile(r"^```\w+ title=\"(?P<title>[^\"]+)\"\n(?P<text>.*?)^```$", re.M | re.S)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    for block in TITLED.finditer(PAGE.read_text(encoding="utf-8")):
        path = tmp_path / "project" / block["title"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block["text"], encoding="utf-8")
    return tmp_path / "project"


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd, env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_it_has_under_60_lines(project: Path) -> None:
    files = [path for path in project.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert 30 < sum(path.read_text(encoding="utf-8").count("\n") for path in files) < 60


@pytest.mark.timeout(120)
def test_it_is_installed_found_and_kept_to_some_rules(project: Path, tmp_path: Path) -> None:
    place = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    run(*pip, "--no-build-isolation", "--target", place, project, cwd=tmp_path)
    listing = run(sys.executable, "-m", "corefutures", "backends", cwd=tmp_path, PYTHONPATH=str(place))
    assert re.search(r"^burst +installed +corefutures-burst 0\.1\.0", listing, re.M)
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "corefutures_conformance.plugin"]
    said = run(*tests, "-k", "passes_k or cancelled_call", project / "tests", cwd=project, PYTHONPATH=str(place))
    assert re.search(r"\d passed", said)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels that an author needs, built from the working tree."""
    folder = tmp_path_factory.mktemp("wheels")
    packages = (ROOT / "packages" / name for name in ("pools", "conformance", "tools"))
    for source in (ROOT, *packages):
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    return folder


def clean_environment(folder: Path, wheels: Path, *requirements: str | Path) -> Path:
    """An environment with nothing but these, and what they need; its interpreter."""
    venv.create(folder, with_pip=True)
    (python,) = (path for path in folder.glob("*/python*") if path.stem == "python")
    run(python, "-m", "pip", "install", "--quiet", "--find-links", wheels, *requirements, cwd=folder)
    return python


@pytest.mark.wheel
@pytest.mark.timeout(600)
def test_it_is_certified_in_a_clean_environment(project: Path, wheels: Path, tmp_path: Path) -> None:
    python = clean_environment(tmp_path / "clean", wheels, project, "corefutures[conformance]")
    said = run(python, "-m", "corefutures", "conformance", "burst", cwd=tmp_path)
    assert "burst: conformant" in said
    run(python, "-m", "pytest", "-q", "tests", cwd=project)


@pytest.mark.wheel
@pytest.mark.timeout(600)
def test_a_new_backend_passes_its_own_tests_in_a_clean_environment(wheels: Path, tmp_path: Path) -> None:
    tools = clean_environment(tmp_path / "tools", wheels, "corefutures[tools]")
    run(tools, "-m", "corefutures", "new-backend", "acme", cwd=tmp_path)
    project = tmp_path / "corefutures-acme"
    python = clean_environment(tmp_path / "acme", wheels, f"{project}[test]")
    run(python, "-m", "pytest", "-q", cwd=project)
    run(python, "-m", "mypy", "src", "tests", cwd=project)
    run(python, "-m", "ruff", "check", cwd=project)
    run(python, "-m", "ruff", "format", "--check", cwd=project)
