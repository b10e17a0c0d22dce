"""`corefutures new-backend`: what it writes works as it is, and it refuses what it can't do without a trace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest

from corefutures.cli import main
from corefutures_tools._commands.new_backend import skeleton


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def written(run, folder):
    done = run("new-backend", "night-shift")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout == "corefutures-night-shift: a backend called night-shift; its README.md says what to do with it\n"
    )
    return folder / "corefutures-night-shift"


def test_it_is_a_whole_project(written):
    found = sorted(path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file())
    assert found == [
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/corefutures_night_shift/__init__.py",
        "src/corefutures_night_shift/executor.py",
        "src/corefutures_night_shift/plugin.py",
        "src/corefutures_night_shift/py.typed",
        "tests/test_conformance.py",
    ]
    for path in written.rglob("*"):
        assert path.is_dir() or "$" not in path.read_text(encoding="utf-8"), path
    project = tomllib.loads((written / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "corefutures-night-shift"
    assert project["entry-points"] == {"corefutures.backends": {"night-shift": "corefutures_night_shift.plugin"}}
    assert project["dependencies"] == ["corefutures>=0.1,<0.2", "corefutures-pools>=0.1,<0.2"]


def test_it_is_found_by_name_and_the_kit_finds_its_rules_kept(written):
    information = written / "src" / "corefutures_night_shift-0.1.0.dist-info"  # what an installation leaves
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: corefutures-night-shift\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text(
        "[corefutures.backends]\nnight-shift = corefutures_night_shift.plugin\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "passes_k or cancelled_call"],
        cwd=written, env={**os.environ, "PYTHONPATH": str(written / "src")},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d passed", done.stdout)


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("Night", "'Night' is not; try 'night'"),
        ("night shift", "try 'night-shift'"),
        ("night_shift", "try 'night-shift'"),
        ("night--shift", "try 'night-shift'"),
        ("-night", "required: NAME"),
        ("night-", "try 'night'"),
        ("2nd", "a letter first: '2nd' is not"),
        ("", "'' is not"),
        ("nächte", "'nächte' is not"),
        ("../up", "'../up' is not"),
        ("night\n", "is not"),
        ("n" * 61, "at most 60"),
        ("thread", "taken by corefutures-thread"),
        ("dask", "taken by corefutures-dask"),
        ("corefutures-night", "try 'night'"),
    ],
)
def test_a_name_that_will_not_do(here, capsys, name, phrase):
    before = sorted(here.rglob("*"))
    assert main(["new-backend", name]) == 2
    told = capsys.readouterr()
    assert phrase in told.err
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert sorted(here.rglob("*")) == before


def test_the_place_can_be_chosen_and_may_be_an_empty_folder(here):
    (here / "empty").mkdir()
    for place in ("empty", "new/and/deep"):
        assert main(["new-backend", "acme", "--directory", place]) == 0
        assert (here / place / "src" / "corefutures_acme" / "plugin.py").is_file()


def test_nothing_is_overwritten(here, capsys):
    (here / "mine").mkdir()
    (here / "mine" / "thoughts").write_text("keep")
    (here / "file").write_text("keep")
    before = sorted(here.rglob("*"))
    for place in ("mine", "file", "file/below"):
        assert main(["new-backend", "acme", "--directory", place]) == 2
        told = capsys.readouterr()
        assert place in told.err
        assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert sorted(here.rglob("*")) == before


def test_every_file_of_the_skeleton_is_filled_in_but_two():
    texts = dict(skeleton())
    assert len(texts) == 8
    assert {place for place, text in texts.items() if "$" not in text} == {"LICENSE", "src/package/py.typed"}
