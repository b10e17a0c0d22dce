"""survey/README.md is what the committed results say, and nobody is accused without a reproduction by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from corefutures_conformance.executor_tests import RULES
from tools.survey.__main__ import SURVEY, kept, page, reproductions
from tools.survey.subjects import SUBJECTS

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_that_of_the_committed_results() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.survey", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_reproductions_are_of_subjects_and_rules_that_exist() -> None:
    ids = {rule.id for rule in RULES.values()}
    for slug, rule in reproductions(SURVEY):
        assert slug in SUBJECTS, f"nobody is called {slug}"
        assert rule in ids, f"there is no rule {rule}"


def test_who_breaks_a_rule_is_not_published_without_a_reproduction(tmp_path: Path) -> None:
    broken = {
        "id": "submitting.each_call_runs_exactly_once", "level": "MUST", "outcome": "failed",
        "message": "ran | twice in /some/where/file.py at 0x7f00", "seconds": 0.1,
    }  # fmt: skip
    report = {
        "target": "loky:ProcessPoolExecutor", "verdict": "nonconformant", "capabilities": {"pickles": True},
        "environment": {"python": "CPython 3.14"}, "rules": [broken],
    }  # fmt: skip
    (tmp_path / "results").mkdir()
    (tmp_path / "reproductions").mkdir()
    (tmp_path / "results" / "loky.json").write_text(json.dumps(kept(report, "loky 3")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"loky breaks \['submitting.each_call_runs_exactly_once'\]"):
        page(tmp_path)
    (tmp_path / "reproductions" / "shows.py").write_text(
        'def twice():\n    """loky: submitting.each_call_runs_exactly_once"""\n', encoding="utf-8"
    )
    text = page(tmp_path)
    assert "| ran \\| twice in …/file.py | [shows.py](reproductions/shows.py) |" in text
    assert "| [loky.ProcessPoolExecutor](#loky) | loky 3 | nonconformant | 1 |" in text
