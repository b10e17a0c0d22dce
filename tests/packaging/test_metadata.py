"""What the distributions say of themselves fits together, and the workflows call what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import corefutures

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("p*/*/pyproject.toml"))]
VERSIONS = [f"3.{minor}" for minor in range(11, 16)]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def project(path: Path) -> dict[str, Any]:
    described: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return described


def ids(path: Path) -> str:
    return path.parent.name if path.parent != ROOT else "corefutures"


def read_workflow(path: Path) -> dict[Any, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not in the free-threaded dependency group")
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def workflow() -> dict[Any, Any]:
    """The workflow that every change of ours must pass."""
    return read_workflow(ROOT / ".github" / "workflows" / "tests.yml")


@pytest.mark.parametrize("path", PROJECTS, ids=ids)
def test_a_distribution_describes_itself(path: Path) -> None:
    described = project(path)
    assert described["version"] == corefutures.__version__
    assert {"name", "description", "readme", "license", "license-files", "authors", "keywords"} <= set(described)
    assert set(described["urls"]) == {"Homepage", "Documentation", "Changelog", "Issues"}
    named = [line.rpartition(":: ")[2] for line in described["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert named == VERSIONS
    assert "Typing :: Typed" in described["classifiers"]


@pytest.mark.parametrize("path", PROJECTS, ids=ids)
def test_the_versions_that_siblings_ask_for_are_those_that_there_are(path: Path) -> None:
    described = project(path)
    major, minor = map(int, corefutures.__version__.split(".")[:2])
    extras = described.get("optional-dependencies", {}).values()
    siblings = [one for some in (described["dependencies"], *extras) for one in some if one.startswith("corefutures")]
    assert {one.partition(">")[2] for one in siblings} == {f"={major}.{minor},<{major}.{minor + 1}"}


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", text, re.M)
    assert first is not None
    assert first[1] == corefutures.__version__


def test_there_are_workflows_for_ourselves_and_for_others() -> None:
    assert [path.name for path in WORKFLOWS] == ["conformance.yml", "tests.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_well_formed(path: Path) -> None:
    workflow = read_workflow(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["defaults"]["run"]["shell"].startswith("bash")
    assert True in workflow  # `on`, which YAML 1.1 reads as a truth value
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 60, name
        assert job["steps"][0]["uses"].startswith("actions/checkout@"), name


def test_our_workflow_covers_every_system_and_python(workflow: dict[Any, Any]) -> None:
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == VERSIONS
    assert [system.partition("-")[0] for system in matrix["system"]] == ["ubuntu", "macos", "windows"]
    free_threaded = workflow["jobs"]["free-threaded"]["steps"][1]["with"]
    assert free_threaded["python-version"] == "3.14t"


def test_our_workflow_calls_make_targets_that_exist(workflow: dict[Any, Any]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    commands = [
        step["run"].replace("${{ matrix.target }}", target)
        for job in workflow["jobs"].values()
        for target in job.get("strategy", {}).get("matrix", {}).get("target", ["-"])
        for step in job["steps"]
        if step.get("run", "").startswith("make ")
    ]
    called = {command.split()[1] for command in commands}
    assert called <= targets
    assert {"test", "demo", "check", "docs", "wheels", "cpython"} <= called
    assert all("PYTHON=python" in command for command in commands)
