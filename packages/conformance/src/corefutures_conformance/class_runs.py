"""The rules of `ExecutorTests` subclasses, as the pytest plugin runs them.

Each rule of a class is run by a process of its own, which collects the same class with the same settings: so a rule
that hangs or crashes is a failed test, and never a hanging or crashing run.
"""

from __future__ import annotations

import os

import pytest

from corefutures.backend import describe_error
from corefutures_conformance.capabilities import Profile, declared_by
from corefutures_conformance.certification import MOST_OVERDUE, learn, try_call
from corefutures_conformance.executor_tests import RULES, ExecutorTests
from corefutures_conformance.rules import Rule
from corefutures_conformance.runner import Runner, RunnerError
from corefutures_conformance.verdict import Result, judge, not_run, verdict


class ClassRun:
    """The rules of one class, as they are run: one runner, what it found so far."""

    def __init__(self, tests: type[ExecutorTests], item: pytest.Item) -> None:
        """Prepare; nothing starts before the first rule."""
        self.tests = tests
        self.results: list[Result] = []
        self._config = item.config
        self._class_id = item.nodeid.rpartition("::")[0]
        self._runner: Runner | None = None
        self._keys: dict[str, str] = {}
        self._useless = ""  # why no rule can be run

    def run(self, item: pytest.Item, rule: Rule, next_item: pytest.Item | None) -> Result:
        """Run one rule."""
        contract = self.tests.declares_contract
        strict = self.tests.strict
        hung = sum(result.outcome == "overdue" and result.decides(strict=strict) for result in self.results)
        if self._useless:
            result = not_run(rule, self._useless, contract=contract)
        elif hung >= MOST_OVERDUE:
            result = not_run(rule, f"{MOST_OVERDUE} rules were overdue: the rest are not run", contract=contract)
        else:
            runner = self._ready()
            # what both share is kept by the runner process, unless the same rule comes again or another class is
            # next
            follows = next_item.nodeid if next_item is not None and next_item is not item else None
            key = self._keys[item.name]
            next_key = self._keys.get(next_item.name) if follows and next_item is not None else None
            record = runner.run(key, patience=rule.patience, next_key=None if next_key == key else next_key)
            result = judge(rule, record, contract=contract, reason=self.tests.expected_failures.get(rule.id))
        self.results.append(result)
        return result

    def close(self) -> None:
        """End the runner process."""
        if self._runner is not None:
            self._runner.close()

    def _ready(self) -> Runner:
        if self._runner is None:
            config = self._config
            arguments = [
                self._class_id,
                "--rootdir",
                str(config.rootpath),
                "-p",
                "no:corefutures_conformance.plugin",
            ]
            arguments += ["-c", str(config.inipath) if config.inipath else os.devnull]
            arguments += ["--import-mode", config.getoption("importmode")]
            self._runner = Runner(arguments, deadline=self.tests.deadline, folder=str(config.rootpath))
            try:
                self._keys = {key.rpartition("::")[2]: key for key in self._runner.collected()}
                try_call(self._runner, self._keys)
            except RunnerError as error:
                self._useless = str(error)
                raise
            profile = Profile()
            profile.learn(declared_by(self.tests.capabilities), "declared")
            learn(self._runner, self._keys, profile)
        return self._runner


_CLASS_RUNS = pytest.StashKey[dict[str, ClassRun]]()


def class_runs(config: pytest.Config) -> dict[str, ClassRun]:
    """Return the class_runs of a run, by the node id of the class."""
    return config.stash.setdefault(_CLASS_RUNS, {})


def run_item(item: pytest.Item, next_item: pytest.Item | None, tests: type[ExecutorTests]) -> bool:
    """Let a runner process run the item if it is a rule; say whether it is."""
    rule = RULES.get(getattr(item, "originalname", item.name))
    if rule is None:
        return False
    class_id = item.nodeid.rpartition("::")[0]
    class_run = class_runs(item.config).setdefault(class_id, ClassRun(tests, item))
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    started = pytest.CallInfo.from_call(lambda: None, "call")
    try:
        result = class_run.run(item, rule, next_item)
        reports = [_report(item, result, started, tests)]
    except Exception as error:
        reports = [_trouble(item, error, started)]
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    if next_item is None or next_item.nodeid.rpartition("::")[0] != class_id:
        class_run.close()
    return True


def summarise(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the verdict on each class, and the advisories."""
    for class_id, class_run in class_runs(config).items():
        strict = class_run.tests.strict
        judged = len({result.rule.id for result in class_run.results})
        scope = "" if judged == len(RULES) else f" as far as selected ({judged} of {len(RULES)} rules)"
        reporter.section(f"{class_id}: {verdict(class_run.results, strict=strict)}{scope}")
        for result in class_run.results:
            if result.bad and not result.decides(strict=strict):
                reporter.line(f"advisory: {result.rule.id} ({result.level}): {result.message}")


def _report(
    item: pytest.Item, result: Result, call: pytest.CallInfo[None], tests: type[ExecutorTests]
) -> pytest.TestReport:
    report = pytest.TestReport.from_item_and_call(item, call)
    report.duration = result.seconds
    if result.bad and result.decides(strict=tests.strict):
        report.outcome = "failed"
        report.longrepr = (
            f"rule {result.rule.id} ({result.level}, {result.outcome})\n"
            f"demands:  {result.rule.statement} ({result.rule.source})\n"
            f"happened: {result.message}\n\n{result.details}"
        )
    elif result.bad or result.outcome == "expected-failure":
        report.outcome = "skipped"
        report.wasxfail = f"advisory: {result.message}" if result.bad else result.message
    elif result.outcome in ("not-applicable", "not-run"):
        path, line, _ = item.location
        report.outcome = "skipped"
        report.longrepr = (path, line or 0, f"{result.outcome}: {result.message}")
    return report


def _trouble(item: pytest.Item, error: Exception, call: pytest.CallInfo[None]) -> pytest.TestReport:
    report = pytest.TestReport.from_item_and_call(item, call)
    report.outcome = "failed"
    report.longrepr = describe_error(error)
    return report
