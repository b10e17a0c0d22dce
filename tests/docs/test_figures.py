"""The figures in README.md and docs/figures.md are those of the committed results, to the digit."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

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


def row(what: str, ratio: float | None = 6.97, **others: Any) -> dict[str, Any]:
    return {
        "what": what, "unit": "µs a call", "ratio": ratio, "excess": None, "at_least": 5.0, "at_most": None,
        "kept": True, "ours": [1.2, 1.234, 9.0], "against": [8.6, 8.6, 8.6], "others": {},
    } | others  # fmt: skip


def result(*rows: dict[str, Any], title: str = "Threads") -> dict[str, Any]:
    return {
        "surroundings": {
            "python": "3.14.10", "implementation": "CPython", "free_threaded": False,
            "system": "Linux", "machine": "x86_64", "cpus": 2,
        },
        "rounds": 9,
        "sheets": [{"suite": "thread", "title": title, "rows": list(rows)}],
    }  # fmt: skip


def test_the_pages_have_the_figures_of_the_committed_results() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr


def test_a_result_becomes_a_table_in_place_of_the_old_one(readme_figures: ModuleType) -> None:
    alone = row("a million", None, against=[], at_least=None)
    costly = row("import", at_least=None, at_most=3.0, excess=1.5)
    results = {"thread": result(row("map"), alone, costly)}
    page = f"before\n{readme_figures.BEGIN}old\n{readme_figures.END}after\n"
    text: str = readme_figures.with_lines(page, readme_figures.all_tables(results))
    assert "| map | 1.23 µs a call | 8.60 µs a call | 6.97 × | at least 5 × |\n" in text
    assert "| a million | 1.23 µs a call |  |  |  |\n" in text
    assert "| at most 3.00 µs a call more (1.50) |\n" in text
    assert "**Threads** (CPython 3.14.10, Linux, 2 CPUs; medians of 9 rounds)" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert readme_figures.with_lines(text, readme_figures.all_tables(results)) == text


def test_each_other_library_has_a_column(readme_figures: ModuleType) -> None:
    peers = result(row("keywords", others={"loky": [70.0, 71.0, 90.0], "mpire": [120.4]}))
    peers["sheets"][0]["suite"] = "peers"
    lines = list(readme_figures.all_tables({"peers": peers}))
    assert "| µs a call | corefutures | standard library | loky | mpire |" in lines
    assert "| keywords | 1.23 | 8.60 | 71.0 | 120 |" in lines


def test_the_suites_come_in_the_order_of_the_page(readme_figures: ModuleType, tmp_path: Path) -> None:
    for suite in ("dask", "thread", "other"):
        (tmp_path / f"{suite}.json").write_text(json.dumps(result(row("map"))), encoding="utf-8")
    results = readme_figures.read(tmp_path)
    assert list(results) == ["thread", "dask", "other"]
    assert [line for line in readme_figures.all_tables(results) if "Dask itself" in line]


def real(*sheets: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    made = result()
    made["sheets"] = [{"suite": "real", "title": f"{pool}: the calls", "rows": rows} for pool, rows in sheets]
    return made


def test_the_readme_shows_the_selected_rows_and_the_worst(readme_figures: ModuleType) -> None:
    results = {
        "real": real(("Threads", [row("map"), row("wait", 0.5)]), ("Processes", [row("map", 0.9), row("send", 2.0)])),
        "real-loaded": real(("Threads", [row("map", 3.0)])),
    }
    results["real-loaded"]["surroundings"]["busy_loops"] = 2
    lines = list(readme_figures.selection(results, ["map"]))
    assert lines[:4] == [
        "| the call | threads | processes |",
        "|---|---|---|",
        "| map | 6.97 × (3.00 ×) | **0.90 ×** |",
        "| wait | **0.50 ×** |  |",
    ]
    assert lines[5].startswith("Measured on CPython 3.14.10, Linux, 2 CPUs; medians of 9 rounds; in brackets")
    assert "beside 2 busy loops" in readme_figures.measured_on(results["real-loaded"])


def test_a_selected_row_that_was_not_measured_is_an_error(readme_figures: ModuleType) -> None:
    results = {"real": real(("Threads", [row("map")])), "real-loaded": real()}
    with pytest.raises(ValueError, match="not among the results"):
        list(readme_figures.selection(results, ["gone"]))


def test_the_readme_has_one_table_of_at_most_sixteen_rows() -> None:
    tables = re.findall(r"(?:^\|.*\n)+", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert len(tables) == 1
    assert tables[0].count("\n") - 2 <= 16
    assert tables[0].count("**") == 6  # the worst of each column


def test_a_page_without_the_marks_is_refused(readme_figures: ModuleType) -> None:
    with pytest.raises(ValueError, match="lacks"):
        readme_figures.with_lines("no marks", iter(()))
