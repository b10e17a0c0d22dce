"""The rules themselves: each well stated, the workers' side light, CONTRACT.md current."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from corefutures_conformance import ExecutorTests
from corefutures_conformance.contract.document import contract
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.rules import RuleError, from_python, only_where, read_rule, requires, rules_of
from corefutures_conformance.selection import matcher
from corefutures_conformance.suite import CHAPTERS, resources

CHAPTER_NAMES = {
    "submitting", "results", "exceptions", "cancelling", "callbacks", "mapping", "waiting", "as_completed",
    "shutting_down", "initializing", "worker_loss", "transport", "concurrency", "resources", "interoperation",
    "stress", "stateful", "control", "forking", "scopes", "streaming", "worker_values", "sharing", "spares",
    "slots", "memory_limits",
}  # fmt: skip


def test_there_are_enough_rules() -> None:
    assert len(RULES) >= 200


def test_every_chapter_of_the_contract_has_rules() -> None:
    counts = Counter(rule.chapter for rule in RULES.values())
    assert set(counts) == CHAPTER_NAMES


def test_ids_are_unique_and_well_formed() -> None:
    ids = [rule.id for rule in RULES.values()]
    assert len(set(ids)) == len(ids)
    assert all(rule.id == f"{rule.chapter}.{rule.method.removeprefix('test_')}" for rule in RULES.values())


@pytest.mark.parametrize("rule", RULES.values(), ids=[rule.id for rule in RULES.values()])
def test_the_rule_is_one_sentence_with_a_level_and_a_source(rule) -> None:  # type: ignore[no-untyped-def]
    assert rule.written_level in ("MUST", "SHOULD", "MAY")
    assert rule.statement.endswith((".", ".)")), f"not a sentence: {rule.statement!r}"
    assert rule.source.startswith(("manual", "PEP 3148", "promise"))
    if rule.written_level == "MUST":
        assert not rule.source.startswith("promise")


def test_no_rule_is_parametrized() -> None:
    for chapter in CHAPTERS:
        for name, function in vars(chapter).items():
            assert not getattr(function, "pytestmark", None), f"{name}: one function, one rule"


def test_a_promise_is_owed_by_backends_that_declare_the_contract() -> None:
    promised = next(rule for rule in RULES.values() if rule.source.startswith("promise"))
    assert promised.level(contract=False) == "SHOULD"
    assert promised.level(contract=True) == "MUST"
    advised = next(
        rule for rule in RULES.values() if rule.written_level == "SHOULD" and rule.source.startswith("manual")
    )
    assert advised.level(contract=True) == "SHOULD"


def test_capabilities_are_required_in_both_directions() -> None:
    @requires("pickles", same_process=False)
    def test_it() -> None:
        """It MUST be so. (PEP 3148)"""

    rule = read_rule(test_it, "made_up")
    assert rule.inapplicable({"pickles": True, "same_process": False}) is None
    assert "'pickles'" in str(rule.inapplicable({"pickles": False, "same_process": False}))
    assert "'same_process'" in str(rule.inapplicable({"pickles": True, "same_process": True}))


def test_versions_and_platforms_are_named() -> None:
    @from_python(99, 1)
    def test_later() -> None:
        """It MUST be so. (PEP 3148)"""

    @only_where(False, "needs a flux capacitor")
    def test_elsewhere() -> None:
        """It MAY be so. (PEP 3148)"""

    assert "Python 99.1" in str(read_rule(test_later, "made_up").inapplicable({}))
    assert read_rule(test_elsewhere, "made_up").inapplicable({}) == "needs a flux capacitor"


def test_rules_on_scopes_are_left_out_where_they_are_not_installed() -> None:
    code = (
        "import sys; sys.modules['corefutures_structured'] = None\n"
        "from corefutures_conformance.executor_tests import RULES\n"
        "print({rule.inapplicable({}) for rule in RULES.values() if rule.chapter == 'scopes' and"
        " not rule.requirement.capabilities})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "{'needs corefutures-structured installed'}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("It is so. (PEP 3148)", "exactly one of MUST, SHOULD, MAY"),
        ("It MUST be so, or it SHOULD. (PEP 3148)", "exactly one of MUST, SHOULD, MAY"),
        ("It MUST be so.", "must end with its source"),
        ("It MUST be so. (hearsay)", "must end with its source"),
        ("It MUST be so. (promise E1)", "a promise beyond the manual is SHOULD"),
        ("", "exactly one of MUST, SHOULD, MAY"),
    ],
)
def test_a_badly_stated_rule_is_refused(text: str, complaint: str) -> None:
    def test_it() -> None: ...

    test_it.__doc__ = text
    with pytest.raises(RuleError, match=complaint):
        read_rule(test_it, "made_up")


def test_a_method_name_in_two_chapters_is_refused() -> None:
    def test_it() -> None:
        """It MUST be so. (PEP 3148)"""

    one, two = type("One", (), {"test_it": test_it}), type("Two", (), {"test_it": test_it})
    with pytest.raises(RuleError, match="two rules are called test_it"):
        rules_of([one, two])


def test_a_private_name_in_two_chapters_is_refused() -> None:
    one, two = type("One", (), {"_waiting": staticmethod(int)}), type("Two", (), {"_waiting": staticmethod(float)})
    with pytest.raises(RuleError, match="two things are called _waiting"):
        rules_of([one, two])


def test_overriding_a_rule_is_refused() -> None:
    with pytest.raises(RuleError, match=r"overrides the rule submitting\.submit_returns_a_future"):
        type("Mine", (ExecutorTests,), {"test_submit_returns_a_future": lambda self: None})


def test_expecting_an_unknown_rule_to_fail_is_refused() -> None:
    with pytest.raises(RuleError, match=r"'submitting\.no_such', which is no rule"):
        type("Mine", (ExecutorTests,), {"expected_failures": {"submitting.no_such": "because"}})


def test_expecting_a_failure_without_a_reason_is_refused() -> None:
    with pytest.raises(RuleError, match="must be the reason"):
        type("Mine", (ExecutorTests,), {"expected_failures": {"submitting.submit_returns_a_future": ""}})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("map", {"mapping.order", "mapping.timeout"}),
        ("mapping.order", {"mapping.order"}),
        ("mapping and not timeout", {"mapping.order"}),
        ("(order or timeout) and mapping", {"mapping.order", "mapping.timeout"}),
        ("not mapping", {"waiting.timeout"}),
        ("MAPPING.Order", {"mapping.order"}),
    ],
)
def test_rules_are_selected_as_pytest_does(expression: str, expected: set[str]) -> None:
    matches = matcher(expression)
    assert {rule for rule in ("mapping.order", "mapping.timeout", "waiting.timeout") if matches(rule)} == expected


@pytest.mark.parametrize("expression", ["a and", "(a", "a b", "a; b", "a['x']", "not"])
def test_an_unreadable_expression_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="cannot read the expression"):
        matcher(expression)


def test_what_runs_in_workers_imports_nothing_heavy() -> None:
    code = (
        "import sys, pkgutil, importlib, corefutures_conformance.worker as package\n"
        "for found in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'{package.__name__}.{found.name}')\n"
        "heavy = {'pytest', '_pytest', 'hypothesis', 'pluggy', 'importlib_metadata', 'multiprocessing'}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(m for m in sys.modules if m.startswith('corefutures._reg')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[] []"


def test_the_calls_of_most_rules_import_next_to_nothing() -> None:
    """Each new interpreter of a pool imports all of it again, in each rule."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from corefutures_conformance.worker import calls, carrying\n"
        "print(sorted({'typing', 'concurrent.futures', 'logging', 'pathlib'} & set(sys.modules) - before))"
    )
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_door_is_imported_without_pytest() -> None:
    code = "import sys, corefutures_conformance, corefutures_conformance.runner_process; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_the_contract_is_current() -> None:
    file = Path(__file__).parents[3] / "CONTRACT.md"
    assert file.read_text(encoding="utf-8") == contract(), "run python -m corefutures_conformance.contract CONTRACT.md"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc, as the rule does to tell programs apart")
def test_semaphores_of_a_program_beside_the_kit_do_not_count(tmp_path: Path) -> None:
    script = tmp_path / "holds.py"
    script.write_text(
        "import os, sys, time\n"
        "from _multiprocessing import SemLock, sem_unlink\n"
        "held = SemLock(1, 1, 1, sys.argv[1], False)\n"
        "open(sys.argv[2], 'w').close()\n"
        "until = time.monotonic() + 50\n"
        "while not os.path.exists(sys.argv[2] + '.end') and time.monotonic() < until:\n"
        "    time.sleep(0.01)\n"
        "sem_unlink(sys.argv[1])\n"
    )
    names = [f"/kit-test-{os.getpid()}-{place}" for place in ("beside", "below")]
    before = resources._named_semaphores()
    beside = [f"'{sys.executable}' '{script}' {names[0]} '{tmp_path / 'beside'}' &"]  # which the shell leaves behind
    subprocess.run(["/bin/sh", "-c", *beside], check=True, stdin=subprocess.DEVNULL)
    below = subprocess.Popen([sys.executable, script, names[1], tmp_path / "below"])
    try:
        deadline = time.monotonic() + 30
        while not ((tmp_path / "beside").exists() and (tmp_path / "below").exists()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert {f"sem.{name[1:]}" for name in names} <= set(resources._named_semaphores())
        found = resources._new_semaphores(before)
        assert f"sem.{names[1][1:]}" in found
        assert f"sem.{names[0][1:]}" not in found
    finally:
        (tmp_path / "beside.end").touch()
        (tmp_path / "below.end").touch()
        below.wait()
