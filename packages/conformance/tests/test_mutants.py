"""Each mutant is killed by the rule that must catch it; nothing unrelated is accused."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator

import mutants
import pytest
from mutants import MUTANTS, Mutant

from corefutures_conformance.certification import certify, runner_of_a_named_target
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.rules import Rule
from corefutures_conformance.runner import Runner
from corefutures_conformance.target import Target
from corefutures_conformance.verdict import Report, Result

for found in pkgutil.iter_modules(mutants.__path__):
    importlib.import_module(f"mutants.{found.name}")

SHARE = os.environ.get("COREFUTURES_KIT_SHARE") or f"{sys.version_info[1]}/10"
"""Which of the mutants to run: "2/3" is the second third of them. Without it, a tenth, another one on each
Python; `make defects` runs them all."""

EVERYTHING = os.environ.get("COREFUTURES_KIT_EVERYTHING") == "1"
"""Run every rule on each mutant (`make certify`), not only those that it breaks and some neighbours."""


def chosen(mutant: Mutant) -> list[Rule]:
    """The rules to run on a mutant."""
    if EVERYTHING:
        return list(RULES.values())
    near = [rule for rule in RULES.values() if rule.chapter in mutant.chapters and not mutant.may_break(rule.id)]
    wanted = mutant.broken | {rule.id for rule in near[::6]}
    return [rule for rule in RULES.values() if rule.id in wanted]


def share_of_mutants() -> dict[str, Mutant]:
    """The mutants that this run takes, spread over all chapters."""
    share, shares = map(int, SHARE.split("/"))
    names = list(MUTANTS)[share % shares :: shares]
    return {name: MUTANTS[name] for name in names}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """One runner process for all of them, replaced when a mutant left it unfit."""
    made = runner_of_a_named_target()
    yield made
    made.close()


LOOKS = 3
"""How often a rule is run before it lets a mutant live, or an unrelated one is accused: a machine that stumbles may
make either happen once."""


@pytest.mark.timeout(900 if EVERYTHING else 150)
@pytest.mark.parametrize("mutant", share_of_mutants().values(), ids=share_of_mutants())
def test_the_mutant_is_killed(mutant: Mutant, runner: Runner) -> None:
    def run(rules: list[Rule], deadline: float) -> Report:
        return certify(
            Target(mutant.target, mutant.options),
            rules,
            deadline=deadline,
            given=mutant.capabilities,
            expected_failures={},
            runner=runner,
        )

    report = run(chosen(mutant), mutant.deadline)
    results = {result.rule.id: result for result in report.results}
    killer = results[mutant.caught_by]
    if (
        killer.outcome == "not-applicable" and killer.rule.requirement.reasons
    ):  # the platform or this Python lacks something
        pytest.skip(f"{killer.rule.id} does not apply: {killer.message}")
    assert killer.outcome != "not-applicable", f"{killer.rule.id} says that it does not apply: {killer.message}"

    def astray() -> dict[str, Result]:
        """What let the mutant live, and what is unrelated and failed."""
        silent = ("passed",) if report.gave_up else ("passed", "not-run")  # after too many hangs the rest is not run
        return {
            rule: result
            for rule, result in results.items()
            if (rule in mutant.broken and result.outcome in silent) or (result.bad and not mutant.may_break(rule))
        }

    for _ in range(LOOKS - 1):
        unclear = astray()
        if mutant.says not in results[mutant.caught_by].message:  # on a busy machine: that the rule was overdue
            unclear[mutant.caught_by] = results[mutant.caught_by]
        if not unclear:
            break
        again = run([result.rule for result in unclear.values()], 3 * mutant.deadline)
        results |= {result.rule.id: result for result in again.results}
    assert not astray(), {rule: f"{result.outcome}: {result.message}" for rule, result in astray().items()}
    message = results[mutant.caught_by].message
    assert mutant.says in message, f"{mutant.caught_by} says {message!r}, without {mutant.says!r}"


NOT_KILLABLE: dict[str, str] = {
    "initializing.initializer_is_refused_where_it_is_not_supported": (
        "the probe for the capability and the rule ask the same: only a wrong declaration can break it"
    ),
    "initializing.initializer_runs_in_a_worker_that_replaces_another": (
        "the reference executors do not survive a lost worker"
    ),
}
"""Rule id → why no small mutant can break it alone."""


def test_every_rule_is_killed_by_a_defect() -> None:
    killed = {rule for mutant in MUTANTS.values() for rule in mutant.broken}
    ids = {rule.id for rule in RULES.values()}
    assert not killed - ids, f"mutants name rules that do not exist: {sorted(killed - ids)}"
    assert not set(NOT_KILLABLE) - ids, "NOT_KILLABLE names rules that do not exist"
    assert not set(NOT_KILLABLE) & killed, f"killed after all: {sorted(set(NOT_KILLABLE) & killed)}"
    alive = sorted(ids - killed - set(NOT_KILLABLE))
    assert not alive, f"{len(alive)} rules are killed by no mutant: {alive}"
