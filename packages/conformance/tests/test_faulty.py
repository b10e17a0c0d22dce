"""Each planted defect is caught by the rule that must catch it; nothing unrelated is accused."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator

import faulty
import pytest
from planting import DEFECTS, Defect

from corefutures_conformance.certification import bare_examiner, certify
from corefutures_conformance.examiner import Examiner
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.rules import Rule
from corefutures_conformance.target import Target
from corefutures_conformance.verdict import Report, Result

for found in pkgutil.iter_modules(faulty.__path__):
    importlib.import_module(f"faulty.{found.name}")

SHARE = os.environ.get("COREFUTURES_KIT_SHARE") or f"{sys.version_info[1]}/10"
"""Which of the planted defects to run: "2/3" is the second third of them. Without it, a tenth, another one on each
Python; `make defects` runs them all."""

EVERYTHING = os.environ.get("COREFUTURES_KIT_EVERYTHING") == "1"
"""Run every rule on each faulty executor (`make certify`), not only those that it breaks and some neighbours."""


def chosen(defect: Defect) -> list[Rule]:
    """The rules to run on a faulty executor."""
    if EVERYTHING:
        return list(RULES.values())
    near = [rule for rule in RULES.values() if rule.chapter in defect.chapters and not defect.may_break(rule.id)]
    wanted = defect.broken | {rule.id for rule in near[::6]}
    return [rule for rule in RULES.values() if rule.id in wanted]


def share_of_defects() -> dict[str, Defect]:
    """The defects that this run takes, spread over all chapters."""
    share, shares = map(int, SHARE.split("/"))
    names = list(DEFECTS)[share % shares :: shares]
    return {name: DEFECTS[name] for name in names}


@pytest.fixture(scope="module")
def examiner() -> Iterator[Examiner]:
    """One examinee for all of them, replaced when a defect left it unfit."""
    made = bare_examiner()
    yield made
    made.close()


LOOKS = 3
"""How often a rule is run before it lets a defect pass, or an unrelated one is accused: a machine that stumbles may
make either happen once."""


@pytest.mark.timeout(900 if EVERYTHING else 150)
@pytest.mark.parametrize("defect", share_of_defects().values(), ids=share_of_defects())
def test_the_defect_is_caught(defect: Defect, examiner: Examiner) -> None:
    def examine(rules: list[Rule], deadline: float) -> Report:
        return certify(
            Target(defect.target, defect.options),
            rules,
            deadline=deadline,
            given=defect.capabilities,
            expected_failures={},
            examiner=examiner,
        )

    report = examine(chosen(defect), defect.deadline)
    results = {result.rule.id: result for result in report.results}
    if results[defect.caught_by].outcome == "not-applicable":
        pytest.skip(f"{defect.caught_by} does not apply: {results[defect.caught_by].message}")

    def astray() -> dict[str, Result]:
        """What let the defect pass, and what is unrelated and failed."""
        silent = ("passed",) if report.gave_up else ("passed", "not-run")  # after too many hangs the rest is not run
        return {
            rule: result
            for rule, result in results.items()
            if (rule in defect.broken and result.outcome in silent) or (result.bad and not defect.may_break(rule))
        }

    for _ in range(LOOKS - 1):
        if not astray():
            break
        again = examine([result.rule for result in astray().values()], 3 * defect.deadline)
        results |= {result.rule.id: result for result in again.results}
    assert not astray(), {rule: f"{result.outcome}: {result.message}" for rule, result in astray().items()}
    message = results[defect.caught_by].message
    assert defect.says in message, f"{defect.caught_by} says {message!r}, without {defect.says!r}"


NOT_KILLABLE: dict[str, str] = {
    "initializing.initializer_is_refused_where_it_is_not_supported": (
        "the probe for the capability and the rule ask the same: only a wrong declaration can break it"
    ),
    "initializing.initializer_runs_in_a_worker_that_replaces_another": (
        "the reference executors do not survive a lost worker"
    ),
}
"""Rule id → why no small faulty executor can break it alone."""


def test_every_rule_is_killed_by_a_defect() -> None:
    killed = {rule for defect in DEFECTS.values() for rule in defect.broken}
    ids = {rule.id for rule in RULES.values()}
    assert not killed - ids, f"defects name rules that do not exist: {sorted(killed - ids)}"
    assert not set(NOT_KILLABLE) - ids, "NOT_KILLABLE names rules that do not exist"
    assert not set(NOT_KILLABLE) & killed, f"killed after all: {sorted(set(NOT_KILLABLE) & killed)}"
    alive = sorted(ids - killed - set(NOT_KILLABLE))
    assert not alive, f"{len(alive)} rules are killed by no defect: {alive}"
