"""Executors that hang, crash or vanish are failed rules, never a hanging or crashing kit."""

from __future__ import annotations

import re
from multiprocessing.shared_memory import SharedMemory
from uuid import uuid4

import pytest

from corefutures_conformance import certification
from corefutures_conformance.certification import certify
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.rules import Rule
from corefutures_conformance.runner import RunnerError
from corefutures_conformance.target import Target, TargetError
from corefutures_conformance.verdict import Report, Result, Verdict, verdict

SUBMITTING = [rule for rule in RULES.values() if rule.chapter == "submitting"]
KNOWN = {
    "same_process": True,
    "shares_memory": True,
    "pickles": False,
    "accepts_initializer": True,
    "survives_worker_loss": False,
}


def certified(name: str, rules: list[Rule], **settings: object) -> Report:
    return certify(Target(name), rules, given=KNOWN, **settings)  # type: ignore[arg-type]


def test_a_hang_is_an_overdue_rule_with_every_stack() -> None:
    report = certified("saboteurs:HangingOnce", SUBMITTING, deadline=3)
    outcomes = {result.rule.id: result for result in report.results}
    hung = outcomes.pop("submitting.passes_a_keyword_called_fn")
    assert hung.outcome == "overdue"
    assert "saboteurs.py" in hung.details, "no stack shows where the executor hangs"
    assert re.search(r"\(the time went in saboteurs\.py, line \d+, in submit\)$", hung.message), hung.message
    assert outcomes.pop("submitting.passes_keywords_that_executors_like").outcome in ("passed", "overdue")
    others = {result.outcome for result in outcomes.values()}
    assert others == {"passed", "not-applicable"}, "a rule after the hang was not run, or failed"
    assert report.verdict == "nonconformant"


def test_after_ten_hangs_the_rest_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert certification.MOST_OVERDUE == 10  # as docs/certify.md says
    monkeypatch.setattr(certification, "MOST_OVERDUE", 3)  # each hang costs a runner process
    report = certified("saboteurs:Hanging", SUBMITTING[: 3 + 4], deadline=0.5)
    assert report.verdict == "nonconformant"
    assert report.count("overdue") == 3
    assert report.count("not-run") >= 1
    assert {result.outcome for result in report.results[-2:]} == {"not-run"}


def test_a_killed_executor_leaves_no_shared_memory() -> None:
    name = f"corefutures_{uuid4().hex[:12]}"
    report = certify(
        Target("saboteurs:HangingWithSharedMemory", {"name": name}), SUBMITTING[1:2], given=KNOWN, deadline=3
    )
    assert {result.outcome for result in report.results} == {"overdue"}
    with pytest.raises(FileNotFoundError):
        SharedMemory(name)


@pytest.mark.parametrize(
    ("name", "ending"), [("saboteurs:Leaving", "exit status 17"), ("saboteurs:Crashing", "SIGSEGV")]
)
def test_a_crash_fails_the_rule_that_was_running(name: str, ending: str) -> None:
    rules = [rule for rule in SUBMITTING if rule.method in ("test_executor_is_an_executor", "test_passes_no_arguments")]
    report = certified(name, rules)
    by_id = {result.rule.id: result for result in report.results}
    assert by_id["submitting.executor_is_an_executor"].outcome == "passed"
    crashed = by_id["submitting.passes_no_arguments"]
    assert crashed.outcome == "failed"
    assert ending in crashed.message
    assert "saboteurs.py" in crashed.details or name == "saboteurs:Leaving"


def test_what_the_executor_prints_and_reads_does_not_reach_the_runner() -> None:
    report = certified("saboteurs:Chatting", SUBMITTING[:8])
    assert {result.outcome for result in report.results} == {"passed"}


def test_an_executor_that_cannot_be_made_fails_the_rules() -> None:
    report = certified("saboteurs:Refusing", SUBMITTING[:2])
    assert {result.outcome for result in report.results} == {"failed"}
    assert all("no workers today" in result.message for result in report.results)


def test_what_is_not_declared_is_probed() -> None:
    report = certify(Target("saboteurs:WithoutInitializer"), SUBMITTING[:1])
    assert report.capabilities["same_process"] is True
    assert report.capabilities["shares_memory"] is True
    assert report.capabilities["pickles"] is False
    assert report.capabilities["accepts_initializer"] is False
    assert report.origins["same_process"] == "probed"
    assert report.origins["remote"] == "assumed"


def test_process_executors_are_probed_as_such() -> None:
    report = certify(Target("reference:ProcessExecutor"), SUBMITTING[:1])
    found = {name: report.capabilities[name] for name in ("same_process", "shares_memory", "pickles")}
    assert found == {"same_process": False, "shares_memory": False, "pickles": True}
    assert report.capabilities["survives_worker_loss"] is False


def test_a_probe_that_hangs_is_reported_as_such() -> None:
    given = {name: value for name, value in KNOWN.items() if name != "same_process"}
    report = certify(Target("saboteurs:Hanging"), SUBMITTING[:1], given=given, deadline=0.5)
    assert report.origins["same_process"].startswith("assumed: its probe ended as overdue")


def test_expected_failures_are_strict() -> None:
    rules = [rule for rule in SUBMITTING if rule.method == "test_passes_no_arguments"]
    report = certified("reference:ThreadExecutor", rules, expected_failures={rules[0].id: "it was broken once"})
    assert report.verdict == "nonconformant"
    assert "expected to fail (it was broken once), but passed" in report.results[0].message


def test_an_expected_failure_is_an_exception_to_the_verdict() -> None:
    rules = [
        rule for rule in SUBMITTING if rule.method in ("test_passes_a_keyword_called_fn", "test_passes_no_arguments")
    ]
    report = certified(
        "saboteurs:HangingOnce",
        rules,
        deadline=2,
        expected_failures={"submitting.passes_a_keyword_called_fn": "it hangs"},
    )
    assert report.verdict == "conformant-with-exceptions"
    assert report.count("expected-failure") == 1


def test_a_contract_is_declared_by_the_backend() -> None:
    report = certify(Target("thread"), [rule for rule in RULES.values() if rule.source.startswith("promise")][:2])
    assert report.declared is report.contract
    assert {result.level for result in report.results} == {"MUST"}
    assert report.origins["pickles"] == "declared"


def test_each_rule_is_repeated() -> None:
    rules = [rule for rule in SUBMITTING if rule.method == "test_passes_no_arguments"]
    assert certified("reference:ThreadExecutor", rules, repeat=5).verdict == "conformant"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no_such_module:Executor", "no_such_module"),
        ("concurrent.futures:NoSuchExecutor", "NoSuchExecutor"),
        ("math:pi", "not callable"),
        ("no-such-backend", "no-such-backend"),
    ],
)
def test_a_target_that_does_not_exist_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(TargetError, match=complaint):
        certified(name, SUBMITTING[:1])


def test_a_target_that_only_the_runner_process_lacks_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(RunnerError, match="reference"):
        certified("reference:ThreadExecutor", SUBMITTING[:1])


def _result(level: str, outcome: str) -> Result:
    return Result(rule=SUBMITTING[0], level=level, outcome=outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcomes", "lenient", "strict"),
    [
        ([], "incomplete", "incomplete"),
        ([("MUST", "passed")], "conformant", "conformant"),
        ([("MUST", "passed"), ("MUST", "not-applicable")], "conformant", "conformant"),
        ([("SHOULD", "failed"), ("MUST", "passed")], "conformant", "nonconformant"),
        ([("SHOULD", "overdue")], "conformant", "nonconformant"),
        ([("MAY", "failed")], "conformant", "conformant"),
        ([("MUST", "failed")], "nonconformant", "nonconformant"),
        ([("MUST", "overdue")], "nonconformant", "nonconformant"),
        ([("MUST", "expected-failure")], "conformant-with-exceptions", "conformant-with-exceptions"),
        ([("SHOULD", "expected-failure")], "conformant", "conformant-with-exceptions"),
        ([("MUST", "passed"), ("MUST", "not-run")], "incomplete", "incomplete"),
        ([("MUST", "failed"), ("MUST", "not-run")], "nonconformant", "nonconformant"),
    ],
)
def test_the_verdict(outcomes: list[tuple[str, str]], lenient: Verdict, strict: Verdict) -> None:
    results = [_result(*outcome) for outcome in outcomes]
    assert verdict(results) == lenient
    assert verdict(results, strict=True) == strict


def test_a_target_declares_its_exceptions() -> None:
    rules = [rule for rule in SUBMITTING if rule.id in ("submitting.passes_a_keyword_called_fn", SUBMITTING[0].id)]
    report = certified("saboteurs:Declaring", rules)
    assert report.verdict == "conformant-with-exceptions"
    (failure,) = [result for result in report.results if result.outcome != "passed"]
    assert failure.outcome == "expected-failure"
    assert failure.rule.id == "submitting.passes_a_keyword_called_fn"
    assert "keeps fn for itself" in failure.message
    assert certified("saboteurs:Declaring", rules, expected_failures={}).verdict == "nonconformant"


@pytest.mark.parametrize(
    ("name", "phrase"), [("DeclaringNoRule", "names 'submitting.no_such_rule'"), ("DeclaringNoReason", "in words")]
)
def test_a_declaration_names_a_rule_and_the_reason(name: str, phrase: str) -> None:
    with pytest.raises(TargetError, match=phrase):
        certified(f"saboteurs:{name}", SUBMITTING[:1])
