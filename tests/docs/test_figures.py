"""The README's figures are those of the committed results, to the digit."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "readme_figures.py"


@pytest.fixture
def readme_figures() -> ModuleType:
    specification = importlib.util.spec_from_file_location("readme_figures", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_readme_has_the_figures_of_the_committed_results() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr


def test_a_result_becomes_a_table_in_place_of_the_old_one(readme_figures: ModuleType, tmp_path: Path) -> None:
    compared = {
        "what": "map", "unit": "µs a call", "ratio": 6.97, "excess": None, "at_least": 5.0, "at_most": None,
        "kept": True, "ours": [1.2, 1.234, 9.0], "against": [8.6, 8.6, 8.6], "others": {},
    }  # fmt: skip
    alone = compared | {"what": "a million", "against": [], "ratio": None, "at_least": None}
    costly = compared | {"what": "import", "at_least": None, "at_most": 3.0, "excess": 1.5}
    result = {
        "surroundings": {
            "python": "3.14.10", "implementation": "CPython", "free_threaded": False,
            "system": "Linux", "machine": "x86_64", "cpus": 2,
        },
        "rounds": 9,
        "sheets": [{"suite": "thread", "title": "Threads", "rows": [compared, alone, costly]}],
    }  # fmt: skip
    (tmp_path / "thread.json").write_text(json.dumps(result), encoding="utf-8")
    page = f"before\n{readme_figures.BEGIN}old\n{readme_figures.END}after\n"
    text: str = readme_figures.with_figures(page, tmp_path)
    assert "| map | 1.23 µs a call | 8.60 µs a call | 6.97 × | at least 5 × |\n" in text
    assert "| a million | 1.23 µs a call |  |  |  |\n" in text
    assert "| at most 3.00 µs a call more (1.50) |\n" in text
    assert "**Threads** (CPython 3.14.10, Linux, 2 CPUs; medians of 9 rounds)" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert readme_figures.with_figures(text, tmp_path) == text


def test_a_readme_without_the_marks_is_refused(readme_figures: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks"):
        readme_figures.with_figures("no marks", tmp_path)
