"""Each planted defect is caught by the rule that must catch it, with its phrase, and nothing unrelated is accused."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from corefutures.conformance.certification import certify
from corefutures.conformance.executor_tests import RULES
from corefutures.conformance.target import Target

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import faulty  # noqa: E402
from planting import DEFECTS, Defect  # noqa: E402

for found in pkgutil.iter_modules(faulty.__path__):
    importlib.import_module(f"faulty.{found.name}")

EVERYTHING = os.environ.get("COREFUTURES_KIT_EVERYTHING") == "1"
"""Run every rule on each faulty executor (`make certify`), not only the chapters that the defect is about."""


@pytest.fixture(autouse=True)
def _findable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.timeout(600 if EVERYTHING else 150)
@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_the_defect_is_caught(defect: Defect) -> None:
    rules = [rule for rule in RULES.values() if EVERYTHING or rule.chapter in defect.chapters]
    report = certify(
        Target(defect.target, defect.options), rules, deadline=defect.deadline, expected_failures={}
    )
    broken = {result.rule.id: result.message for result in report.results if result.bad}
    assert defect.caught_by in broken, f"{defect.caught_by} let the defect pass; broken: {sorted(broken)}"
    message = broken[defect.caught_by]
    assert defect.says in message, f"{defect.caught_by} says {message!r}, without {defect.says!r}"
    unrelated = {
        rule: message
        for rule, message in broken.items()
        if rule != defect.caught_by and not any(fnmatch(rule, pattern) for pattern in defect.also)
    }
    assert not unrelated, f"unrelated rules failed: {unrelated}"
