"""The kit on an executor that can do nothing but submit and shut down: nonconformant, and conformant once adapted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corefutures_conformance.certification import certify
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.target import Target

SUPPORT = str(Path(__file__).parents[3] / "tests" / "support")
EVERYTHING = os.environ.get("COREFUTURES_KIT_EVERYTHING") == "1"
#: Some of each chapter that is about what an adapter can add.
CHAPTERS = {
    "cancelling": 3,
    "callbacks": 6,
    "mapping": 7,
    "shutting_down": 4,
    "submitting": 6,
    "stress": 5,
    "exceptions": 6,
}
#: The adapter does not make executors, and can't tell their threads from those that may submit calls at the end.
LEFT_TO_THE_MAKER = {
    "submitting.max_workers_must_be_positive",
    "submitting.max_workers_must_be_a_number",
    "shutting_down.submit_works_in_a_thread_that_outlives_the_main_one",
}


@pytest.fixture(autouse=True)
def support(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes that the kit starts import `foreign`."""
    monkeypatch.setenv("PYTHONPATH", SUPPORT, prepend=os.pathsep)


@pytest.mark.timeout(400)
def test_an_adapted_executor_keeps_the_contract() -> None:
    rules = list(RULES.values())
    if not EVERYTHING:
        rules = [
            rule
            for chapter, step in CHAPTERS.items()
            for rule in [rule for rule in rules if rule.chapter == chapter][::step]
        ]
    report = certify(Target("foreign:adapted"), rules)
    # Also what is advisory, but for what concerns the making of an executor.
    broken = {result.rule.id: result.message for result in report.results if result.bad}
    assert {rule: message for rule, message in broken.items() if rule not in LEFT_TO_THE_MAKER} == {}
    assert report.verdict == "conformant"


def test_without_the_adapter_it_does_not() -> None:
    names = ["submitting.passes_keyword_arguments", "cancelling.cancel_returns_false_once_finished"]
    rules = [rule for rule in RULES.values() if rule.id in names]
    report = certify(Target("foreign:bare"), rules, deadline=5)
    assert [result.rule.id for result in report.results if result.bad] == [rule.id for rule in rules]
    assert len(rules) == 2
    assert report.verdict == "nonconformant"
