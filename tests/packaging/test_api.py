"""No public name, signature or default changes unnoticed: api.txt has them, CHANGELOG.md tells what changed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "api_surface.py"
BEFORE = {
    "c.Future": "class()",
    "c.Future.cancel": "method(self) -> bool",
    "c.wait": "function(fs, timeout=None)",
    "c.gone": "function()",
}


@pytest.fixture
def api_surface() -> ModuleType:
    specification = importlib.util.spec_from_file_location("api_surface", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info < (3, 14), reason="Linux and Python 3.14 or newer have every name"
)
def test_the_public_api_is_the_one_that_was_written_down() -> None:
    for plugin in ("corefutures_thread", "corefutures_process", "corefutures_interpreter", "corefutures_dask"):
        pytest.importorskip(plugin, reason="describing the API needs every backend")
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_new_gone_or_different_has_changed(api_surface: ModuleType) -> None:
    now = dict(BEFORE) | {"c.wait": "function(fs, timeout=1)", "c.Future.done": "method(self) -> bool"}
    del now["c.gone"]
    assert api_surface.changed(BEFORE, now) == ["c.wait", "c.gone", "c.Future.done"]
    assert api_surface.changed(BEFORE, BEFORE) == []


def test_a_new_class_counts_once(api_surface: ModuleType) -> None:
    assert api_surface.changed({}, BEFORE) == ["c.Future", "c.wait", "c.gone"]


def test_a_change_is_to_be_named_in_the_newest_section(api_surface: ModuleType) -> None:
    changelog = "# Changelog\n\n## 0.2 (unreleased)\n\n- `Future.cancel()` is new.\n\n## 0.1\n\n- `wait` is new.\n"
    names = ["c.Future.cancel", "c.wait", "c.Future"]
    assert api_surface.unmentioned(names, changelog) == ["c.wait"]
    assert api_surface.unmentioned(["c.new"], changelog) == ["c.new"]  # the word alone is not the name


def test_signatures_are_told_in_full(api_surface: ModuleType) -> None:
    def call(a: int, /, b: str = "x", *rest: object, c: float | None = None, **more: object) -> None: ...

    def keyword_only(*, a: int = 1) -> None: ...

    shown = "(a: int, /, b: str = 'x', *rest: object, c: float | None = None, **more: object) -> None"
    assert api_surface._signature(call) == shown
    assert api_surface._signature(keyword_only) == "(*, a: int = 1) -> None"


def test_what_is_written_can_be_read(api_surface: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "api.txt"
    assert api_surface.read(file) == {}
    file.write_text(api_surface.as_text(BEFORE), encoding="utf-8")
    assert api_surface.read(file) == BEFORE
