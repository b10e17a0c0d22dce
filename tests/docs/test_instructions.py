"""A tiny call runs no more bytecode than the committed figures say: no clock is read, so a regression shows at once."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "instructions.json"
#: How much a figure may grow before `make bench` has to write it anew.
TOLERANCE = 1.03


def figures(document: dict[str, Any]) -> dict[str, float]:
    return {row["what"]: min(row["ours"]) for sheet in document["sheets"] for row in sheet["rows"]}


def test_no_path_of_a_tiny_call_has_grown(tmp_path: Path) -> None:
    committed = json.loads(RESULTS.read_text(encoding="utf-8"))
    around = committed["surroundings"]
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    same = platform.python_version_tuple()[:2] == tuple(around["python"].split(".")[:2])
    if not (same and has_gil and platform.system() == around["system"]):
        pytest.skip(f"the figures are those of Python {around['python']} with a GIL on {around['system']}")
    file = tmp_path / "instructions.json"
    program = [sys.executable, "-m", "benchmarks", "instructions", "--rounds", "1", "--json", str(file)]
    subprocess.run(program, check=True, cwd=ROOT, capture_output=True, timeout=50)
    now = figures(json.loads(file.read_text(encoding="utf-8")))
    grown = {what: (figure, now[what]) for what, figure in figures(committed).items() if now[what] > figure * TOLERANCE}
    assert not grown, "on purpose? then write the figures anew: make bench"
